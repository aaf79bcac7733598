"""An open store: its journal and fold, its caches, batches and commits."""
