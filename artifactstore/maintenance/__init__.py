"""Looking after a store: verify."""
