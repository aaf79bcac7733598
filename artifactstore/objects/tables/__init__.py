"""Tables: types, profiles, row hashes, Parquet files, and pandas frames."""
