"""Display: cards, values and drawings as text, HTML and SVG."""
