"""Large tables of the fold on disk, in SQLite files."""
