"""What hosts get as application versions."""
