"""Azure Blob Storage, ADLS Gen2 and OneLake."""
