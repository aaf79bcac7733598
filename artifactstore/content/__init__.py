"""Content: bytes cut into chunks, encoded, packed, listed and read back. Knows digests and extents, never names or history."""
