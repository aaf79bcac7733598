"""Built-in object formats, one module per family; each is chosen by the object's type, without importing the family's library."""
