"""Reading the outputs of a workunit's results: which are well-formed, and which agree.

It imports no more than the codec, the envelope and the comparators: it runs in a process of its own (output_process).
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import os
import stat
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aioboinc.passes import comparators
from aioboinc.wire import codec, envelope

__all__ = ["COMPARING", "Found", "Reading", "Request", "State", "read"]

COMPARING = -1
"""In place of the number of an output: they are being compared."""
_MAX_REASON = 1000


class State(enum.Enum):
    """What can be said of an output file."""

    GOOD = enum.auto()
    BAD = enum.auto()
    """Missing or malformed."""
    UNREADABLE = enum.auto()
    """Not readable now."""


class Request(NamedTuple):
    """The outputs of one workunit."""

    job: str
    input_sha256: bytes
    program_sha256: bytes
    upload_dir: str
    paths: tuple[str, ...]
    """The files; of a result whose document names none ""."""
    reported: tuple[tuple[int, str] | None, ...]
    """Size and MD5 of each as its host has reported it, None where it has not: the assimilator goes by that."""


class Found(NamedTuple):
    """What is found of one output."""

    state: State
    reason: str = ""
    """What is wrong with one that is not good."""
    ncalls: int = 0
    """Of how many calls there are outcomes in one that is good."""


class Reading(NamedTuple):
    """What is found of the outputs of a workunit."""

    found: tuple[Found, ...]
    agreeing: frozenset[tuple[int, int]] = frozenset()
    """The numbers of good outputs that agree, the smaller first."""
    complaints: tuple[str, ...] = ()
    """What went wrong when they were compared."""


def read(
    request: Request,
    comparator: comparators.Comparator,
    *,
    begin: Callable[[int], None] = lambda number: None,
    known: Mapping[int, str] | None = None,
) -> Reading:
    """Read the outputs in *request* and compare those that are good. Blocks; as long as a file says it takes.

    *begin* is called with the number of each output before it is read, and with COMPARING. Of *known* ones, or of
    the comparison, it is known already what is wrong with them. Whatever is wrong with an output, that one is bad.
    """
    known = known or {}
    found: list[Found] = []
    values: dict[int, Any] = {}
    prepare = comparator.prepare if len(request.paths) > 1 else None
    for number in range(len(request.paths)):
        begin(number)
        if number in known:
            found.append(Found(State.BAD, known[number]))
            continue
        one, value = _read(request, number, prepare)
        found.append(one)
        if one.state is State.GOOD:
            values[number] = value
    if len(values) < 2:
        return Reading(tuple(found))
    begin(COMPARING)
    if COMPARING in known:
        return Reading(tuple(found), complaints=(known[COMPARING],))
    agreeing = set()
    complaints = []
    for one_number, other in itertools.combinations(values, 2):
        try:
            if comparator.agree(values[one_number], values[other]):
                agreeing.add((one_number, other))
        except Exception:
            complaints.append(traceback.format_exc())
    return Reading(tuple(found), frozenset(agreeing), tuple(complaints))


def _read(  # noqa: PLR0911 - one for each thing that may be wrong
    request: Request, number: int, prepare: Callable[[bytes], Any] | None
) -> tuple[Found, Any]:
    """Read and check one output; return what `agree` needs of it too."""
    path = request.paths[number]
    if not path:
        return Found(State.BAD, "its document names no output file"), None
    try:
        data = _content(path)
        ncalls = envelope.check(data, request.job, request.input_sha256, request.program_sha256)
        _check_report(data, request.reported[number])
        return Found(State.GOOD, ncalls=ncalls), None if prepare is None else prepare(data)
    except codec.Malformed as error:
        return Found(State.BAD, f"malformed output: {error}"), None
    except FileNotFoundError:
        if os.path.isdir(request.upload_dir):
            return Found(State.BAD, "no output file"), None
        return Found(State.UNREADABLE, f"{request.upload_dir}: no such directory"), None
    except OSError as error:
        return Found(State.UNREADABLE, str(error)), None
    except MemoryError:
        return Found(State.BAD, "its output takes more memory than the validator may have"), None
    except Exception as error:
        text = f"its output can't be read: {type(error).__name__}: {error}"
        return Found(State.BAD, text[:_MAX_REASON]), None


def _check_report(data: bytes, reported: tuple[int, str] | None) -> None:
    """Raise codec.Malformed unless *data* are what their host has reported."""
    if reported is not None and (len(data), hashlib.md5(data, usedforsecurity=False).hexdigest()) != reported:
        raise codec.Malformed("not what its host has reported: size or MD5 differ")


def _content(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > codec.LIMITS.size:
            raise codec.Malformed("not a file, or too large")
        data = os.read(descriptor, status.st_size)
        if len(data) < status.st_size:
            pieces = [data]
            left = status.st_size - len(data)
            while left and (piece := os.read(descriptor, left)):
                pieces.append(piece)
                left -= len(piece)
            data = b"".join(pieces)
        return data
    finally:
        os.close(descriptor)
