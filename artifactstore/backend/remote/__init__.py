"""Shared parts of network backends: fsspec, HTTP, ranges, multipart uploads, secret options."""
