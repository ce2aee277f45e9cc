"""A program that this host has checked and unpacked, or has refused."""

from __future__ import annotations

import dataclasses
from typing import Mapping

__all__ = ["GENERATED", "Program", "Refused"]

GENERATED = "pyboinc-slave.py"
"""Name of a slave file that we have written, to call a function of the user's."""


class Refused(Exception):
    """A program that must not run; the text says why."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A program that was checked and unpacked."""

    root: str
    """Directory of its files."""
    slave: str
    """Path of the slave file, relative to ``root``, with slashes."""
    modules: Mapping[str, str]
    """Path of every module, relative too, by its dotted name."""
    sha256: bytes
    """SHA-256 of the program file, 32 bytes."""
