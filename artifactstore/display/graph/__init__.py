"""Lineage graphs as SVG and Mermaid."""
