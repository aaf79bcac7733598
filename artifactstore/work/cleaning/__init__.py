"""Clean-up of an open store: arguments, permissions, its own history."""
