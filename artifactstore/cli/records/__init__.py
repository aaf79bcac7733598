"""What single records look like on the command line."""
