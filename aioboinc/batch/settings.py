"""What is set for a batch: by the program, by the command line, by the environment; and what is told of it."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aioboinc import arguments
from aioboinc.batch import preflight, staging

__all__ = ["Defaults", "Progress", "Settings", "chosen", "defaults"]


@dataclass(frozen=True)
class Progress:
    """How far a batch is."""

    submitted: int
    """Calls of this run that are committed."""
    complete: bool
    """These are all the calls."""
    handled: int
    """Jobs whose outputs were taken: handed to a handler, or to whoever iterates."""
    failed: int
    """Jobs that failed; part of ``handled``."""
    cancelled: int = 0
    """Jobs of the batch before that are cancelled by now, while it is abandoned."""
    to_cancel: int = 0
    """How many that will be; 0 when no batch is being abandoned."""


@dataclass(frozen=True)
class Defaults:
    """What the command line sets for the batches of its program."""

    batch_dir: Path | None = None
    project: Path | None = None
    workers: int | None = None
    fresh: bool = False
    keep_results: bool = False
    progress: Callable[[Progress], None] | None = None


defaults: contextvars.ContextVar[Defaults] = contextvars.ContextVar("defaults", default=Defaults())  # noqa: B039 - frozen


@dataclass(frozen=True)
class Settings:
    """What holds for one batch."""

    batch_dir: Path
    """Where the batch lives."""
    project: Path | None
    """Root directory of a BOINC or served project; None: one that is embedded in the batch directory."""
    workers: int | None
    """Cores that the embedded project uses; None: all."""
    fresh: bool
    """Abandon the batch that is there and begin a new one."""
    keep_results: bool
    """What is done stays done although the slave has changed since."""
    inline_inputs: int
    """Inputs of up to so many bytes have no files of their own."""
    homogeneous_redundancy: int
    """BOINC's class of equivalent hosts that a job's results must come from."""
    progress: Callable[[Progress], None]


def chosen(
    who: str,
    *,
    batch_dir: str | os.PathLike[str] | None,
    project: str | os.PathLike[str] | None,
    workers: int | None,
    fresh: bool,
    keep_results: bool,
    inline_inputs: int,
    homogeneous_redundancy: int,
    progress: Callable[[Progress], None] | None,
) -> Settings:
    """Return what holds: what the program says, else the command line, else the environment.

    *who* is the function that the arguments are of. Raises `errors.UsageError` for those that are wrong.
    """
    if progress is not None:
        arguments.function(f"{who}: progress", progress, "it is told how far the batch is", "Progress")
    given_dir = arguments.path(f"{who}: batch_dir", batch_dir)
    given_project = arguments.path(f"{who}: project", project)
    arguments.flag(f"{who}: fresh", fresh)
    arguments.flag(f"{who}: keep_results", keep_results)
    staging.check_inline_inputs(inline_inputs)
    preflight.check_homogeneous_redundancy(homogeneous_redundancy)
    if workers is not None:
        workers = arguments.whole(f"{who}: workers", workers, 1)
    line = defaults.get()
    environment = os.environ.get("PYBOINC_DIR")
    return Settings(
        batch_dir=given_dir or line.batch_dir or Path(os.curdir),
        project=given_project or line.project or (Path(environment) if environment else None),
        workers=workers or line.workers,
        fresh=fresh or line.fresh,
        keep_results=keep_results or line.keep_results,
        inline_inputs=inline_inputs,
        homogeneous_redundancy=homogeneous_redundancy,
        progress=progress or line.progress or (lambda _: None),
    )
