"""Files of other systems as the source of a put, checked against those systems' own hashes while they are read."""
