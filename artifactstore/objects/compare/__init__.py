"""Comparison of file contents between two artifacts: tables, tensors, JSON values, texts."""
