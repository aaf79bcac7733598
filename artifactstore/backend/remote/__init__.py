"""What backends behind a network share: fsspec, HTTP, ranges, parts, secret options."""
