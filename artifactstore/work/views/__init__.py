"""What `Store` hands out: lineage, registry, maintenance, aliases."""
