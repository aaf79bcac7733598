"""Registry: which versions count for what, by whose word, and why."""
