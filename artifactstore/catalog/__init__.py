"""Catalog: names and history as folds over facts. Knows digests, and never opens content."""
