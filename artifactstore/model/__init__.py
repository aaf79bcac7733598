"""Nouns: pure values without any I/O. They must never know a place, a clock or a file."""
