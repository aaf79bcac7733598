"""Reproduction: runs a recorded program again and compares the results."""
