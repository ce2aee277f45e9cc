"""Run Python functions on thousands of machines: an asyncio front end to BOINC."""
