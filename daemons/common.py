"""What the daemons share: BOINC's options, its log format, and its ways to stop them.

SIGHUP, SIGTERM or SIGINT, and a file ``stop_daemons`` in the project's root, stop a daemon within a second, with exit
status 0. What it has begun is stored, or else undone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from aioboinc import errors, printable, store
from aioboinc.aio import loops, signals
from aioboinc.batch import preflight
from aioboinc.project import config

__all__ = ["FAILURE", "USAGE", "Context", "Parser", "Pass", "find_root", "main"]

FAILURE = 1
"""Exit status after an unforeseen error."""
USAGE = 2
"""Exit status for bad options, bad configuration or a missing server."""

_STOP_FILE = "stop_daemons"
_STOP_POLL = 0.5
"""Seconds between checks for the stop file."""
_GRACE = 0.5
"""Seconds that a pass gets to end by itself when the daemon is told to stop."""
_LEVELS = {1: logging.CRITICAL, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}
_LABELS = {
    logging.CRITICAL: "[CRITICAL]",
    logging.ERROR: "[CRITICAL]",
    logging.WARNING: "[warning]",
    logging.INFO: "[normal]",
    logging.DEBUG: "[debug]",
}

_log = logging.getLogger("aioboinc.daemon")


@dataclass(frozen=True)
class Context:
    """What a pass works on."""

    store: store.Store
    project: config.Project
    appid: int
    share: tuple[int, int]
    """(n, r): only workunits with id % n == r."""
    stop: asyncio.Event
    """Set when the daemon should stop."""


Pass = Callable[[Context], Awaitable[int]]
"""Does what there is to do; returns how much it did."""


class Parser(argparse.ArgumentParser):
    """The options of all daemons. Errors take one line."""

    def __init__(self, prog: str, description: str, *, sleep_interval: float) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self.add_argument(
            "--app",
            default=config.APP_NAME,
            metavar="NAME",
            help="only workunits of this application (default: %(default)s)",
        )
        self.add_argument("--one_pass", action="store_true", help="do what there is to do, then exit")
        self.add_argument(
            "--mod",
            nargs=2,
            type=int,
            default=(1, 0),
            metavar=("N", "R"),
            help="only workunits with ID modulo N == R",
        )
        self.add_argument(
            "--sleep_interval",
            type=_positive,
            default=sleep_interval,
            metavar="X",
            help="longest sleep in seconds when there is nothing to do (default: %(default)s)",
        )
        self.add_argument(
            "-d",
            "--debug_level",
            type=int,
            choices=_LEVELS,
            default=3,
            metavar="LEVEL",
            help="1 critical, 2 warnings too, 3 normal (default), 4 debugging output",
        )

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        options = self.parse_args(arguments)
        modulus, remainder = options.mod
        if not 0 <= remainder < modulus:
            self.error(f"argument --mod: {modulus} {remainder}: give N and R with 0 <= R < N")
        return options

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message} (see --help)\n")


def main(options: argparse.Namespace, begin: Callable[[config.Project], Pass]) -> int:
    """Run a daemon, one pass after the other; return the exit status. *begin* returns the pass."""
    _start_log(_LEVELS[options.debug_level])
    try:
        root = find_root(Path.cwd(), os.environ.get("BOINC_PROJECT_DIR"))
        if _is_to_stop(root):
            return 0
        with asyncio.Runner(loop_factory=signals.loop_factory()) as runner:
            configuration = config.read(root)
            runner.run(_run(configuration, options, begin(configuration)))
    except errors.UsageError as error:
        _log.critical("%s", error)
        return USAGE
    except Exception:
        _log.critical("unforeseen error; exiting", exc_info=True)
        return FAILURE
    return 0


def find_root(directory: Path, variable: str | None) -> Path:
    """Return the root of the project: *variable* if that is set, or *directory*, or its parent.

    ``bin/start`` runs daemons in a subdirectory. Raises `errors.ProjectError`.
    """
    if variable:
        return Path(variable)
    for root in (directory, directory.parent):
        if (root / "config.xml").is_file():
            return root
    raise errors.ProjectError(
        f"neither {directory} nor its parent is a project: start the daemon there, or set BOINC_PROJECT_DIR"
    )


async def _run(project: config.Project, options: argparse.Namespace, one_pass: Pass) -> None:
    stop = asyncio.Event()

    def received(number: signal.Signals) -> None:
        _log.info("Quitting due to %s", number.name)
        stop.set()

    # bin/stop sends one of them, which is ignored where bin/start ran in the background of a script.
    signals.on_stop(asyncio.get_running_loop(), received, if_ignored=True)
    serving = asyncio.create_task(_serve(project, options, one_pass, stop))
    helpers = [asyncio.create_task(stop.wait()), asyncio.create_task(_watch(project.root, stop))]
    try:
        await asyncio.wait([serving, helpers[0]], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([serving], timeout=_GRACE)
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    finally:
        for helper in helpers:
            helper.cancel()


async def _serve(
    project: config.Project,
    options: argparse.Namespace,
    one_pass: Pass,
    stop: asyncio.Event,
) -> None:
    async with store.open(project, pool_size=2) as database:
        preflight.check_database(project.root, await database.schema.missing())
        app = await database.batches.app(options.app)
        if app is None:
            raise errors.ProjectError(
                f"{project.root} has no application {options.app}; run: python -m aioboinc setup {project.root}"
            )
        context = Context(database, project, app.id, tuple(options.mod), stop)
        _log.info("Starting; application %s", options.app)
        if options.one_pass:
            while not stop.is_set() and await one_pass(context):
                pass
        else:
            await loops.run(
                lambda: one_pass(context),
                stop=stop,
                backoff=loops.Backoff(min(0.1, options.sleep_interval), options.sleep_interval),
            )


async def _watch(root: Path, stop: asyncio.Event) -> None:
    """Set *stop* when the stop file is there."""
    while not stop.is_set():
        if _is_to_stop(root):
            stop.set()
        await loops.wait(_STOP_POLL, stop)


def _is_to_stop(root: Path) -> bool:
    path = root / _STOP_FILE
    if not path.exists():
        return False
    _log.info("Quitting because trigger file '%s' is present", path)
    return True


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a positive number of seconds")
    return number


class _Formatter(printable.Formatter):
    """Lines as BOINC's daemons write them; times are UTC."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(record.created))
        fraction = int(record.created % 1 * 10000)
        label = _LABELS.get(record.levelno, "[debug]")
        return f"{moment}.{fraction:04d} [PID={record.process}] {label}  {super().format(record)}"


def _start_log(level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("aioboinc").setLevel(level)
