"""Runs: units of work with their code, parameters and environment."""
