"""Repacking: packs that are mostly dead or small are written anew, and their artifacts relocated (docs/reference/protocol.md, rule 7)."""
