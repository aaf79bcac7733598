"""Bounds checks for models with compiled readers: every index is checked before native code follows it."""
