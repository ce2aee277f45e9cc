"""The project that lives in a batch directory: its files, its hosts and its daemons."""

from aioboinc.embedded.layout import check, check_whole, remove
from aioboinc.embedded.running import batches, running

__all__ = ["batches", "check", "check_whole", "remove", "running"]
