"""Operations of an open store: put, get, batch, runs, lineage, queries."""
