"""Storage backends: bytes under keys. They never know what the bytes mean."""
