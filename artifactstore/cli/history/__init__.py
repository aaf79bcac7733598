"""Commands for the history of a store."""
