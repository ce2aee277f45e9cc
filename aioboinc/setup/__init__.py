"""``python -m aioboinc setup``: making a BOINC project ready for us, and taking all of that out again."""
