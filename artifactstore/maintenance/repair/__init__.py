"""Repair: what is damaged or missing comes back from a copy, from the user's files or from elsewhere in the store, verified."""
