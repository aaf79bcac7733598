"""The dossier: an artifact and its ancestors with everything that the journal records of them, for people who have no library."""
