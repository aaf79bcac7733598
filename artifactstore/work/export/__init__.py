"""Standards out: what the store knows of runs and artifacts, in the words of OpenLineage, W3C PROV, SLSA and RO-Crate."""
