"""The current run: which run what is read and put belongs to."""
