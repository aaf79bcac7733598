"""Chunking of content, and encodings of chunks."""
