"""Folders behind an SSH server."""
