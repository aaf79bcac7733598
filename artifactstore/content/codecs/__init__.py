"""How content is cut into chunks, and how a chunk is encoded."""
