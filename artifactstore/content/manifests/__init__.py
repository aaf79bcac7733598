"""Manifests: the files of an artifact and where their chunks are."""
