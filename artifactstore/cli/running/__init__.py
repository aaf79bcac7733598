"""The command that makes a run of any program."""
