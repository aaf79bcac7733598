"""What users of other tools type, and what of this library does the same. Loaded only for the message of an error."""
