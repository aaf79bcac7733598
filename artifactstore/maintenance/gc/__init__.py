"""Clean-up: a pure plan of what nothing needs any more, and its execution: condemn, then delete (docs/reference/protocol.md, rule 6)."""
