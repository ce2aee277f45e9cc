"""A project: its configuration, its keys, its files."""
