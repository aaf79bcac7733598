"""Parquet files of whatever origin: their ends, and reading within a bound on memory."""
