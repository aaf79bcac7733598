"""Storing files and memory: scan, read, chunk, pack."""
