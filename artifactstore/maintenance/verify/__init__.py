"""Verification that everything the journal refers to exists and matches it."""
