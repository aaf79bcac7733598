"""What people look at: cards, values and drawings, as text, HTML and SVG."""
