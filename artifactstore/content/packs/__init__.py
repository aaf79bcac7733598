"""Packs: objects with many chunks; writing, reading, deduplication."""
