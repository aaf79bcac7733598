"""Manifests: the files of an artifact, and the extents of their chunks."""
