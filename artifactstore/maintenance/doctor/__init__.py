"""The examination of a backend, and the policies that a role needs there."""
