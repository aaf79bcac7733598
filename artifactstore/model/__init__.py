"""Domain values without any I/O. They must never know a backend, a clock or a file."""
