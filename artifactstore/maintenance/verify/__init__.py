"""Whether everything that the journal names is there, and is what the journal says."""
