"""The journal: keys, chain, catching up, appending, segments."""
