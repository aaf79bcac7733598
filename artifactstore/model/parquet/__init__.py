"""Untrusted Parquet files: footers, and reads within a memory limit."""
