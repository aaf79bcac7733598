"""From the store to files, memory and readers."""
