"""Threads, locks, files and lazy loading: infrastructure without knowledge of stores."""
