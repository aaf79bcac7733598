"""Commands that compare artifacts with each other and with folders of this machine: diff, status."""
