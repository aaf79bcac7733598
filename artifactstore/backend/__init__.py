"""Storage backends: bytes under keys. This room must never know what the bytes mean."""
