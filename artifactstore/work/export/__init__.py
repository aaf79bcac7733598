"""Export of runs and artifacts in standard formats: OpenLineage, W3C PROV, SLSA and RO-Crate."""
