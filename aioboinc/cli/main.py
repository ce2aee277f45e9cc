"""The command line: parse, call, print."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import aioboinc
from aioboinc import errors, printable, starting
from aioboinc.aio import signals
from aioboinc.batch import program_runner, progress, settings
from aioboinc.setup import daemons

if TYPE_CHECKING:
    from aioboinc.serve import serving

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0: success; 1: jobs of the batch failed, or the program raised; 2: a usage error (one line on stderr); 128 + N:
    stopped by signal N.
    """
    options = _parser().parse_args(arguments)
    if logging.lastResort is not None:  # unless the program has set up logging
        logging.lastResort.setFormatter(printable.Formatter())
    try:
        status: int = options.command(options)
        return status
    except errors.UsageError as error:
        return _complain(error)
    except signals.Stopped as stopped:
        return stopped.status
    except KeyboardInterrupt:
        return starting.INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(starting.USAGE, f"{self.prog}: {printable.line(message)} (see --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="aioboinc", description="Run Python functions on thousands of machines, through BOINC.")
    parser.add_argument("--version", action="version", version=f"aioboinc {aioboinc.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a master program",
        description="Run a master program; top-level await is allowed in it. If it was stopped, in whatever way, "
        "the same command continues where it was.",
    )
    run.add_argument(
        "--batch-dir", type=Path, metavar="DIR", help="where the batch lives (default: the program's folder)"
    )
    run.add_argument(
        "--project", type=Path, metavar="DIR", help="a project's root directory (default: $PYBOINC_DIR)"
    )
    run.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="local hosts of an embedded project (default: one a core)",
    )
    run.add_argument(
        "--keep-results",
        action="store_true",
        help="keep the results there are although the program has changed since",
    )
    run.add_argument("--fresh", action="store_true", help="abandon the batch that is there and begin a new one")
    run.add_argument("--quiet", action="store_true", help="show no progress")
    run.add_argument("program", type=Path, metavar="PROGRAM")
    own = run.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="ARGS", help="the program's own arguments"
    )
    own.required = False  # otherwise the error for a missing program asks for them too
    run.set_defaults(command=_run)
    _add_setup(commands)
    _add_serve(commands)
    return parser


def _add_setup(commands: argparse._SubParsersAction[_Parser]) -> None:
    setup = commands.add_parser(
        "setup",
        help="make a BOINC project ready",
        description="Make a BOINC project ready for aioboinc: application and versions, database, daemons. Run it "
        "again after an upgrade; what is in place stays as it is.",
    )
    setup.add_argument("project", type=Path, metavar="PROJECT_DIR")
    setup.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    setup.add_argument("--undo", action="store_true", help="remove everything that setup has added")
    setup.add_argument("--force", action="store_true", help="with --undo: abort batches that are unfinished")
    setup.add_argument(
        "--user", metavar="EMAIL", help="the account that batches belong to (default: the project's first)"
    )
    setup.add_argument(
        "--validator",
        choices=tuple(daemons.VALIDATORS),
        help="aioboinc's, or BOINC's own, which compares bitwise (default: unchanged; at first pyboinc)",
    )
    setup.add_argument(
        "--homogeneous-redundancy",
        type=int,
        choices=(0, 1, 2),
        help="send a job's results to equivalent hosts only (default: unchanged; at first 0, any hosts)",
    )
    setup.add_argument(
        "--python",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="bundle the relocatable Python in DIR for hosts of its platform; may be given several times",
    )
    setup.add_argument("--no-python", action="store_true", help="stop bundling what earlier runs have bundled")
    setup.set_defaults(command=_setup)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number of 1 or more")
    return int(text)


def _complain(error: errors.UsageError) -> int:
    # An error in a program's file names that file itself.
    where = _where(error) if error.at_call and not isinstance(error, errors.ProgramError) else ""
    with contextlib.suppress(OSError):
        print(f"aioboinc: {printable.line(f'{where}{error}')}", file=sys.stderr)
        for note in getattr(error, "__notes__", ()):
            print(f"aioboinc: {printable.line(note)}", file=sys.stderr)
    return starting.USAGE


def _where(error: errors.UsageError) -> str:
    """Return the file and line of the call in the program that raised *error*."""
    entries = traceback.extract_tb(error.__traceback__)
    return f"{entries[-1].filename}:{entries[-1].lineno}: " if entries else ""


def _setup(options: argparse.Namespace) -> int:
    from aioboinc.setup import steps, undo  # only this command needs them

    root = Path(os.path.abspath(options.project))
    chosen = steps.Options(
        python=tuple(options.python),
        without_python=options.no_python,
        validator=options.validator,
        user=options.user,
        homogeneous_redundancy=options.homogeneous_redundancy,
    )
    if options.undo and chosen != steps.Options():
        raise errors.UsageError("setup --undo takes no option but --force and --dry-run")
    if options.force and not options.undo:
        raise errors.UsageError("setup --force is for --undo only")
    if options.undo:
        work = undo.undo(root, force=options.force, dry_run=options.dry_run, say=_say)
    else:
        work = steps.setup(root, chosen, dry_run=options.dry_run, say=_say)
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise signals.Stopped(signal.SIGINT) from None
    return 0


def _say(line: str) -> None:
    print(printable.line(line))


def _add_serve(commands: argparse._SubParsersAction[_Parser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve a project to BOINC clients",
        description="Make a project, if there is none, and serve it to stock BOINC clients until stopped. "
        "Masters submit to it with --project or PYBOINC_DIR.",
    )
    serve.add_argument(
        "--project",
        type=Path,
        default=Path("pyboinc_project"),
        metavar="DIR",
        help="the project's root directory (default: ./pyboinc_project)",
    )
    serve.add_argument(
        "--listen", metavar="HOST:PORT", help="where to listen (default: unchanged; at first 127.0.0.1:8416)"
    )
    serve.add_argument(
        "--url",
        help="the project's URL as hosts see it; can't be changed later (default: http://HOST:PORT/ of --listen)",
    )
    serve.add_argument(
        "--database",
        metavar="URL",
        help="mysql://user:password@host:port/database (default: SQLite, in the project's directory)",
    )
    serve.add_argument(
        "--open-accounts",
        action="store_true",
        help="let anybody who reaches the server make an account (default: hosts need the key of an existing one)",
    )
    serve.set_defaults(command=_serve)


def _serve(options: argparse.Namespace) -> int:
    from aioboinc.serve import door, serving  # a web server is slow to import

    door.raise_descriptor_limit()

    async def work() -> None:
        async with serving.running(
            options.project,
            listen=options.listen,
            url=options.url,
            database=options.database,
            open_accounts=options.open_accounts,
        ) as running:
            with contextlib.suppress(OSError):  # nobody reads the output
                print(_how_to_attach(running), flush=True)
            await asyncio.Event().wait()

    signals.run(work)
    return 0


def _how_to_attach(running: serving.Serving) -> str:
    url = running.project.master_url
    root = printable.line(str(running.project.root))
    return (
        f"{running.project.name} is served at {url} (listening at {running.host}:{running.port})\n"
        f"  status page:    {running.status_url}\n"
        f"  attach a host:  boinccmd --project_attach {url} {running.account_key}\n"
        f"  submit to it:   python -m aioboinc run --project {root} app_master.py"
    )


def _run(options: argparse.Namespace) -> int:
    path = Path(os.path.abspath(options.program))
    settings.defaults.set(
        settings.Defaults(
            batch_dir=options.batch_dir or path.parent,
            project=options.project,
            workers=options.workers,
            fresh=options.fresh,
            keep_results=options.keep_results,
            progress=None if options.quiet else progress.show(),
        )
    )
    try:
        program_runner.run(path, [str(options.program), *options.arguments])
    except (errors.UsageError, SystemExit, signals.Stopped):
        raise
    except errors.BatchFailed as error:
        _report_failures(error)
        return 1
    except BaseException as error:
        if _is_of_the_process(error, path):
            raise
        _print_traceback(error, path)
        return 1
    return 0


def _report_failures(error: errors.BatchFailed) -> None:
    print(f"aioboinc: {error.message}", file=sys.stderr)
    shown = error.exceptions[:10]
    for failure in shown:
        print(f"  {failure}", file=sys.stderr)
        if isinstance(failure, errors.RemoteError):
            remote = printable.lines(failure.traceback)
            print("    " + remote.replace("\n", "\n    ").rstrip(), file=sys.stderr)
        for result in getattr(failure, "results", ()):
            print(f"    {printable.line(f'{result.name}: {result.reason}')}", file=sys.stderr)
            for line in result.stderr.strip().splitlines()[-3:]:
                print(f"      {printable.line(line)}", file=sys.stderr)
    if len(error.exceptions) > len(shown):
        print(f"  and {len(error.exceptions) - len(shown)} more", file=sys.stderr)


def _is_of_the_process(error: BaseException, path: Path) -> bool:
    """Tell whether the program at *path* is not to blame: nobody reads its output, or we are out of memory."""
    if isinstance(error, BrokenPipeError):
        return starting.is_closed(1)
    innermost = traceback.extract_tb(error.__traceback__)[-1:]
    return starting.lacks_memory(error) and not any(
        Path(frame.filename).is_relative_to(path.parent) for frame in innermost
    )


def _print_traceback(error: BaseException, path: Path) -> None:
    """Print the program's traceback, from its own first frame on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != str(path):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(error.with_traceback(frames or error.__traceback__)))
    print(printable.lines(text, len(text)), end="", file=sys.stderr)
