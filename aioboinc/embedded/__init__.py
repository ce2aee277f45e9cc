"""The project that lives in a batch directory: its files, its hosts and its daemons."""

from aioboinc.embedded.services import Running, running

__all__ = ["Running", "running"]
