"""Sync: copies, moves, imports and bundles open stores."""
