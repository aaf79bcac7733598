"""What differs inside of files that two artifacts have: tables, tensors, JSON values."""
