"""The project that lives in a batch directory: its files, its hosts and its daemons."""

from aioboinc.embedded.layout import check, check_whole, remove
from aioboinc.embedded.running import Running, batches, running

__all__ = ["Running", "batches", "check", "check_whole", "remove", "running"]
