"""Display: reports, tables, cards and drawings as text, HTML and SVG. Values come in; where they come from is unknown here."""
