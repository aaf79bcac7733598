"""Commands that free space, and that show what takes it."""
