"""Commands that list what is in an artifact."""
