"""BOINC's scheduler protocol, kept apart from its I/O."""
