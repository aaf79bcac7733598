"""Questions to an open store: names, references, differences, and why."""
