"""Backends that wrap a backend: retries, caches, read-only, overlays."""
