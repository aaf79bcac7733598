"""Runs as they are shown: their records, fields of records, lists of them, and the run of another system that started one."""
