"""The journal: an append-only chain of entries, read, caught up with and appended to.

This room knows numbers, digests and transactions. It must never know what a fact means (the injected
fold does) and must never open content.
"""
