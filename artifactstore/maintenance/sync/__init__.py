"""Copies, moves, bundles and imports of stores."""
