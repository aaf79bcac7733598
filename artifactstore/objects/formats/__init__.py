"""One file a family of objects; each format is found by the object's type, without importing the family's library."""
