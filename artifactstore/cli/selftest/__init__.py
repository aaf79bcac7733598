"""The command `selftest`: whether this installation, on this machine and with this location, does what it should; as a dated report."""
