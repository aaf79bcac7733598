"""Making an artifact again, and comparing what comes out."""
