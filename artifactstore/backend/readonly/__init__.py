"""Read-only backends: a zip file, a web server."""
