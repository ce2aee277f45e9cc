"""The settings of a batch: from the program, the command line and the environment."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aioboinc import arguments
from aioboinc.batch import preflight, staging
from aioboinc.batch import progress as reports

__all__ = ["Defaults", "Settings", "chosen", "defaults"]


@dataclass(frozen=True)
class Defaults:
    """What the command line sets for the batches of its program."""

    batch_dir: Path | None = None
    project: Path | None = None
    workers: int | None = None
    fresh: bool = False
    keep_results: bool = False
    progress: Callable[[reports.Progress], None] | None = None


defaults: contextvars.ContextVar[Defaults] = contextvars.ContextVar("defaults", default=Defaults())  # noqa: B039 - frozen


@dataclass(frozen=True)
class Settings:
    """The settings of one batch."""

    batch_dir: Path
    """Where the batch lives."""
    project: Path | None
    """Root directory of a BOINC or served project; None: one embedded in the batch directory."""
    workers: int | None
    """Cores that the embedded project uses; None: all."""
    fresh: bool
    """Abandon the batch that is there and begin a new one."""
    keep_results: bool
    """Keep the results there are although the slave has changed since."""
    inline_inputs: int
    """Inputs of up to this many bytes have no files of their own."""
    homogeneous_redundancy: int
    """BOINC's class of equivalent hosts that a job's results must come from."""
    progress: Callable[[reports.Progress], None]


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
    progress: Callable[[reports.Progress], None] | bool | None,
) -> Settings:
    """Return the settings: what the program says, else the command line, else the environment.

    *who* is the function that got the arguments. Raises `errors.UsageError` for wrong ones.
    """
    if not isinstance(progress, bool | None):
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
        progress=_shown(progress, line),
    )


def _shown(
    progress: Callable[[reports.Progress], None] | bool | None, line: Defaults
) -> Callable[[reports.Progress], None]:
    if progress is True:
        return line.progress or reports.show()
    if progress is None and line.progress is not None:
        return line.progress
    return progress or (lambda _: None)
