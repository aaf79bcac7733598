"""From files and memory into the store."""
