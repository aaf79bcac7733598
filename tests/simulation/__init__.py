"""The protocol, run step by step over a simulated object store by a seeded scheduler."""
