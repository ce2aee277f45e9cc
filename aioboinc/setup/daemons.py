"""Our daemons in a project: launchers in ``bin/`` and ``<daemon>`` elements in config.xml."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from aioboinc import errors
from aioboinc.aio import locking
from aioboinc.project import config
from aioboinc.setup import config_file

__all__ = [
    "LAUNCHERS",
    "VALIDATORS",
    "Daemon",
    "add",
    "check_interpreter",
    "find",
    "launcher",
    "remove",
    "running",
]

LAUNCHERS: Mapping[str, str] = MappingProxyType(
    {f"pyboinc_{role}": f"aioboinc.daemons.{role}" for role in ("validator", "assimilator", "transitioner")}
)
"""The programs in ``bin/``, and the modules that they run; the transitioner in use is BOINC's."""
VALIDATORS: Mapping[str, str] = MappingProxyType(
    {
        "pyboinc": "pyboinc_validator -d 3",
        "bitwise": f"sample_bitwise_validator -d 3 --app {config.APP_NAME}",
    }
)
"""The commands of the validators to choose from."""

_FLAGS = ("-E", "-P")
"""Interpreter flags: ignore its environment variables and the working directory when importing."""
_ASSIMILATOR = "pyboinc_assimilator -d 3"
_PATH = ("boinc", "daemons")
_ELEMENT = """\
<daemon>
    <cmd>{command}</cmd>
    <output>{name}.log</output>
    <pid_file>{name}.pid</pid_file>
    <lock_file>{name}.lock</lock_file>
</daemon>"""


@dataclass(frozen=True)
class Daemon:
    """One of our ``<daemon>`` elements."""

    element: config_file.Element
    validator: str | None
    """Which of `VALIDATORS` it is; None for the assimilator."""


def find(document: bytes) -> list[Daemon]:
    """Return our daemons in config.xml, with any options that the administrator has given them."""
    return [
        Daemon(element, None if kind == "assimilator" else kind)
        for element in config_file.find(document, *_PATH, "daemon")
        if (kind := _kind(element.children.get("cmd", "")))
    ]


def _kind(command: str) -> str | None:
    words = command.split()
    program = os.path.basename(words[0]) if words else ""
    if program == "sample_bitwise_validator":
        return "bitwise" if config.APP_NAME in words else None
    return {"pyboinc_validator": "pyboinc", "pyboinc_assimilator": "assimilator"}.get(program)


def add(document: bytes, validator: str | None) -> bytes:
    """Return config.xml with our daemons; those already there stay as they are.

    *validator* is one of `VALIDATORS`, and replaces any other; None leaves the choice as it is (at first, ours).
    """
    present = find(document)
    if validator is not None:
        document = remove(document, [daemon for daemon in present if daemon.validator not in {None, validator}])
        present = find(document)
    missing = []
    if all(daemon.validator is None for daemon in present):
        missing.append(_ELEMENT.format(name="pyboinc_validator", command=VALIDATORS[validator or "pyboinc"]))
    if all(daemon.validator is not None for daemon in present):
        missing.append(_ELEMENT.format(name="pyboinc_assimilator", command=_ASSIMILATOR))
    return config_file.append(document, _PATH, *missing) if missing else document


def remove(document: bytes, daemons: Iterable[Daemon]) -> bytes:
    """Return config.xml without *daemons*."""
    return config_file.remove(document, [daemon.element for daemon in daemons])


def launcher(module: str) -> bytes:
    """Return a program that runs *module* with this interpreter, whatever the environment says."""
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {" ".join(_FLAGS)} -m {module} "$@"\n'.encode()


def check_interpreter() -> None:
    """Raise `errors.ProjectError` unless this interpreter can run this user's daemons. Blocks."""
    try:
        process = subprocess.run(
            [sys.executable, *_FLAGS, "-c", f"import {', '.join(LAUNCHERS.values())}"],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        problem = process.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        failed = process.returncode != 0
    except OSError as error:
        problem = error.strerror or str(error)
        failed = True
    if failed:
        raise errors.ProjectError(
            f"{sys.executable} can't run the daemons ({problem}): install aioboinc for a Python that the owner of "
            "the project can run, in a virtual environment for example, and run setup with that"
        )


def running(root: Path, names: Iterable[str] = tuple(LAUNCHERS)) -> list[str]:
    """Return those of *names* (default: our daemons) that run on this host; each holds a lock.

    If there are several of one, the names of their files begin with its name.
    """
    return [name for name in names if any(map(locking.is_locked, root.glob(f"pid_*/{name}*.lock")))]
