"""``aioboinc serve``: BOINC's protocol over HTTP, and the scheduler behind it, for stock clients."""
