"""Which store is meant, where caches and files go, and who is acting."""
