"""Repair of an open store or of a location, and the copies that bytes may come from."""
