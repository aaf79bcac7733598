"""Objects: how an object becomes files, and files become an object again. Knows no backend and no history."""
