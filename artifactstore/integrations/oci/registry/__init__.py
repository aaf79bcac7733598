"""A client of the OCI distribution API: addresses, connections, credentials, blobs, manifests. Knows nothing of stores."""
