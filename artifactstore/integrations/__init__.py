"""Leaves: one file an outsider; each needs its library, and nothing here needs them."""
