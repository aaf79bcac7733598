"""Commands that set a machine or a project up: init, config."""
