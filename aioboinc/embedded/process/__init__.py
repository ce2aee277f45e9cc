"""What runs in a local host's own processes."""
