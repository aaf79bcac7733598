"""Tables: types, profiles, row hashes, Parquet files, and frames of pandas."""
