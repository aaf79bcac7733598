"""Run tracking: assigns reads and puts to the current run."""
