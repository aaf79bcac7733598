"""One step of a CI job: what it shall do is in variables, what came of it in files that the CI system reads."""
