"""Packs: objects that hold many chunks, written and read."""
