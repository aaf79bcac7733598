"""Queries of an open store: names, references, differences, and explanations."""
