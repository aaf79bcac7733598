"""Lineage as a picture (SVG) and as a flowchart (Mermaid)."""
