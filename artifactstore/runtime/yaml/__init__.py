"""YAML as tools write it and people edit it."""
