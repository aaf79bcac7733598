"""Backends around a backend: retries, caches, read-only, overlays."""
