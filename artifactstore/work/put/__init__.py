"""From files and objects to an artifact with a name."""
