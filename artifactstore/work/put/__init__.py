"""Put: stores files and objects as an artifact with a name."""
