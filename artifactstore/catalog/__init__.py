"""Names and history: folds over facts. This room knows digests and must never open bytes."""
