"""Settings: the URL of the store, the cache folder, the actor, and path arguments."""
