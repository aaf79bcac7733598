"""Commands of the registry: aliases, gates, approvals, words and numbers, holds and retention."""
