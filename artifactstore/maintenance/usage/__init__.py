"""What takes how many stored bytes."""
