"""From a reference to files, objects and readers."""
