"""The stages of a call on its way to the database: a call, a job, a chunk of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aioboinc import arguments
from aioboinc.program import bundle
from aioboinc.wire import documents

__all__ = ["AUTO", "MAX_KINDS", "Call", "Chunk", "Form", "Job", "Kind", "Options"]

AUTO = 0
"""In place of a number of calls: to be found out."""
MAX_KINDS = 1024
"""Size of caches for programs and options; if each call has its own, caching is of no use."""

_DAY = 86400
_MAX_COUNT = 1000
_MAX_PRIORITY = 2**31 - 1
_MAX_DELAY = 100_000_000
"""Three years: BOINC's times are integers of 32 bits, and it adds half as much again."""


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """What a call may ask of the project. The names and most defaults are BOINC's ``create_work``'s.

    Objects are compared by identity, which is fast: calls that ask for the same share one object.
    """

    quorum: int | None = None
    """Results that must agree (``min_quorum``); None: 1 on an embedded project, 2 on a BOINC project."""
    target_nresults: int | None = None
    """Results made at first; None: as many as the quorum."""
    max_error_results: int = 3
    """The job fails when more results than this have failed."""
    max_total_results: int = 10
    """The job fails when it would take more results than this."""
    max_success_results: int = 6
    """The job fails when this many outputs have come back and no quorum agrees."""
    priority: int = 0
    """Jobs of higher priority are sent first."""
    delay_bound: int = 7 * _DAY
    """Seconds until a result sent to a host counts as lost."""
    rsc_fpops_est: float = 3600e9
    """Estimate of the job's size in floating-point operations."""
    rsc_fpops_bound: float = 86400e9
    """Operations after which the result is aborted; on an embedded project 1e9 of them count as a second."""
    rsc_memory_bound: float = 5e8
    """Bytes of memory that a result may use."""
    rsc_disk_bound: float = 1e9
    """Bytes of disk that a result may use."""

    def __post_init__(self) -> None:
        for name in ("quorum", "target_nresults"):
            if getattr(self, name) is not None:
                self._whole(name, 1, _MAX_COUNT)
        for name in ("max_error_results", "max_total_results", "max_success_results"):
            self._whole(name, 1, _MAX_COUNT)
        self._whole("priority", -_MAX_PRIORITY, _MAX_PRIORITY)
        delay: object = self.delay_bound
        if isinstance(delay, float) and delay.is_integer():  # 1e6
            object.__setattr__(self, "delay_bound", int(delay))
        self._whole("delay_bound", 1, _MAX_DELAY, unit="seconds")
        for name, unit in (
            ("rsc_fpops_est", "floating-point operations"),
            ("rsc_fpops_bound", "floating-point operations"),
            ("rsc_memory_bound", "bytes"),
            ("rsc_disk_bound", "bytes"),
        ):
            value = arguments.number(f"pyboinc_call: {name}", getattr(self, name), unit=unit)
            object.__setattr__(self, name, value)

    def _whole(self, name: str, least: int, most: int, *, unit: str = "") -> None:
        value = arguments.whole(f"pyboinc_call: {name}", getattr(self, name), least, most, unit=unit)
        object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What calls of the same program with the same options share. Objects are compared by identity."""

    sources: bundle.Sources
    """The slave and the modules it imports."""
    name: str
    """Name of the slave or the function, as in the calls."""
    program: bytes
    """32 bytes that identify the program in its calls' keys."""
    options: Options
    """What the calls ask of the project."""
    named: Mapping[str, int | float]
    """Those options that the calls name."""
    options_sha256: bytes
    """SHA-256 of their text, as the calls wrote them, which version 0.1 of aioboinc recorded."""
    chunk: int = 1
    """Maximum of calls that may share a workunit; `AUTO`: as many as suit their run times."""


@dataclass(slots=True)  # not frozen, which takes three times as long to make; there are millions
class Call:
    """One call, ready to be written."""

    kind: Kind
    input: bytes
    """The encoded input."""
    input_sha256: bytes
    """SHA-256 of ``input``, 32 bytes."""
    key: bytes
    """16 bytes that identify program and input."""
    late: bool
    """Whether it may depend on results."""
    taker: Any
    """Gets its output; the store does not use it."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """What workunits of the same program and options share. Objects are compared by identity."""

    options: Options
    """With the defaults filled in."""
    document: tuple[str, ...]
    """Their ``xml_doc``: alternately text and the name of a value, beginning and ending with text."""


@dataclass(slots=True)
class Job:
    """One workunit to insert."""

    form: Form
    values: Mapping[str, str]
    """Its ``name``, and the other values that the form's document names."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Jobs to commit together, whose input files are in place and durable."""

    first: int
    """Number of the first call."""
    before: int
    """Workunits of the batch that were made before."""
    jobs: Sequence[Job]
    keys: bytes
    """The keys of the jobs' calls, 16 bytes each."""
    kinds: str
    """What the master notes of the calls' programs and options, as JSON."""
    digest: str
    """The running digest after the last of them."""
    template: documents.Template | None
    """For the first results, which go with the jobs; None if only BOINC's transitioner can make them."""
    is_new: bool = True
    """The calls are new; if not, they were in workunits before, and are in others now."""
