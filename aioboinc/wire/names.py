"""Names of workunits: which calls of a batch one runs.

Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Calls", "calls_of", "count_of"]

_NUMBER = r"(0|[1-9][0-9]{0,17})"
_NAME = re.compile(rf"pyboinc_{_NUMBER}_{_NUMBER}(?:_([1-9][0-9]{{0,8}}))?")


class Calls(NamedTuple):
    """The calls that a workunit runs: *count* with consecutive numbers."""

    batch: int
    first: int
    """Number of the first one."""
    count: int = 1  # type: ignore[assignment]  # nobody counts the members of this tuple

    @property
    def name(self) -> str:
        """The name of the workunit."""
        name = f"pyboinc_{self.batch}_{self.first}"
        return name if self.count == 1 else f"{name}_{self.count}"

    def job(self, number: int) -> str:
        """Return the name of the job that the call *number*, from 0 on, of the workunit is."""
        return f"pyboinc_{self.batch}_{self.first + number}"


def calls_of(name: str) -> Calls:
    """Return the calls of the workunit *name*. Raises ValueError if that is no name of a workunit of ours."""
    match = _NAME.fullmatch(name)
    if match is None or match[3] == "1":
        raise ValueError(f"{name}: not the name of a workunit of pyboinc")
    return Calls(int(match[1]), int(match[2]), int(match[3] or 1))


def count_of(name: str) -> int:
    """Return how many calls the workunit *name* runs; 1 if that is no name of a workunit of ours."""
    match = _NAME.fullmatch(name)
    return int(match[3] or 1) if match else 1
