"""Places for bytes. This room must never know what the bytes mean."""
