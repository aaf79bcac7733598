"""Plots of runs as SVG: points, curves and parallel coordinates; they know values and labels, and no store."""
