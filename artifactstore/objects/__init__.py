"""Things: how an object becomes files and files become an object again. This room knows no place and no history."""
