"""What other systems have comes in, and what they take goes out: imports, exports."""
