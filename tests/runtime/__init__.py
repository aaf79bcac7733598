"""What knows this machine and no store."""
