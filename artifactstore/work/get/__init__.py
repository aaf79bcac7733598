"""Get: reads an artifact as files, objects or readers."""
