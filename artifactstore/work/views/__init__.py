"""Views of a store for its users: lineage, registry, maintenance, aliases."""
