"""Backends that only read: a zip file, a web server."""
