"""What `aioboinc serve` shows to people."""
