"""Soak: many processes at everything at once, some of them killed, for minutes or hours."""
