"""``python -m aioboinc setup``: makes a BOINC project ready for us, and undoes that."""
