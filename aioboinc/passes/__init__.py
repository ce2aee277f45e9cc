"""One pass of each daemon, on the store."""
