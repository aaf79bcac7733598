"""Where things meet history: put, get, batch and what can be asked of an open store."""
