"""Capture of a run: its code, whatever the state of the working tree, and its environment."""
