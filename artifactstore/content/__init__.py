"""Bytes: cut, encoded, packed, listed and brought back. This room knows digests and places, never names or history."""
