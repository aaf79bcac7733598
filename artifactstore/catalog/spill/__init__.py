"""Large tables of the fold, kept on disk."""
