"""Copying, moving, importing and bundling open stores."""
