"""Names and history: the fold and its judge."""
