"""Bounds of what compiled readers follow without looking: every index of a file is checked before native code sees it."""
