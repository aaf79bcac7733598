"""The inference log: what a model was asked and what it answered, as a chain of Parquet segments in its store."""
