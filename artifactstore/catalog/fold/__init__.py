"""The fold: what the journal's facts add up to."""
