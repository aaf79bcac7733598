"""Threads, locks, files and lazy loading: what is needed everywhere and means nothing to a store."""
