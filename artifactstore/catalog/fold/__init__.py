"""The fold: the state that the journal's facts add up to."""
