"""The command line: parse, call, print."""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import importlib
import inspect
import os
import signal
import sys
import traceback
import types
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import aioboinc
from aioboinc import errors, master, progress

__all__ = ["main"]

USAGE = 2
"""Exit status for bad input, bad configuration or a missing server."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0 success, 1 jobs of the batch failed, or the program raised, 2 a usage error (one line on stderr),
    128 + N when stopped by signal N.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except errors.UsageError as error:
        return _complain(error)
    except _Stopped as stopped:
        return stopped.status


class _Stopped(BaseException):
    """The program was stopped by a signal."""

    def __init__(self, number: signal.Signals) -> None:
        self.status = 128 + number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aioboinc", description="Run Python functions on thousands of machines, through BOINC."
    )
    parser.add_argument("--version", action="version", version=f"aioboinc {aioboinc.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a master program",
        description="Run a master program; a top-level await is allowed in it. Stopped in whatever way, the same "
        "command goes on where it was.",
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
    run.add_argument("--fresh", action="store_true", help="abandon the batch that is there and begin a new one")
    run.add_argument("--quiet", action="store_true", help="show no progress")
    run.add_argument("program", type=Path, metavar="PROGRAM")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS", help="the program's own arguments")
    run.set_defaults(command=_run)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _complain(error: BaseException) -> int:
    print(f"aioboinc: {error}", file=sys.stderr)
    return USAGE


def _run(options: argparse.Namespace) -> int:
    path = Path(os.path.abspath(options.program))
    code = _compile(path)
    sys.argv = [str(options.program), *options.arguments]
    sys.path.insert(0, str(path.parent))
    module = types.ModuleType("__main__")
    module.__file__ = str(path)
    module.__dict__.update(
        pyboinc_call=aioboinc.pyboinc_call, pyboinc_master=aioboinc.pyboinc_master, __builtins__=__builtins__
    )
    sys.modules["__main__"] = module
    master.defaults.set(
        master.Defaults(
            batch_dir=options.batch_dir or path.parent,
            project=options.project,
            workers=options.workers,
            fresh=options.fresh,
            progress=None if options.quiet else progress.show(sys.stderr),
        )
    )
    program = types.FunctionType(code, module.__dict__)
    try:
        if code.co_flags & inspect.CO_COROUTINE:
            _run_async(program)
        else:
            program()
    except errors.UsageError:
        raise
    except errors.BatchFailed as error:
        _report_failures(error)
        return 1
    except (SystemExit, _Stopped):
        raise
    except KeyboardInterrupt:
        raise _Stopped(signal.SIGINT) from None
    except BaseException as error:
        _print_traceback(error, path)
        return 1
    return 0


def _compile(path: Path) -> types.CodeType:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise errors.ProgramError(errors.describe(path, error)) from None
    try:
        tree = ast.parse(source, str(path))
        code = compile(tree, str(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise errors.ProgramError(f"{path}{f':{line}' if line else ''}: {getattr(error, 'msg', error)}") from None
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            function = statement.value.func
            if getattr(function, "id", getattr(function, "attr", None)) == "pyboinc_master":
                raise errors.ProgramError(
                    f"{path}:{statement.lineno}: write `await pyboinc_master(...)`: without await it does nothing"
                )
    return code


def _run_async(program: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run *program* in an event loop; SIGINT, SIGTERM and SIGHUP cancel it."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        loop = runner.get_loop()
        task = loop.create_task(program())
        received: list[signal.Signals] = []

        def stop(number: signal.Signals) -> None:
            received.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop, number)
        try:
            runner.run(_await(task))
        except (asyncio.CancelledError, KeyboardInterrupt):
            if received:
                raise _Stopped(received[0]) from None
            raise


async def _await(task: asyncio.Task[None]) -> None:
    await task


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's where there is one."""
    with contextlib.suppress(ImportError):
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
        return factory
    return None


def _report_failures(error: errors.BatchFailed) -> None:
    print(f"aioboinc: {error.message}", file=sys.stderr)
    shown = error.exceptions[:10]
    for failure in shown:
        print(f"  {failure}", file=sys.stderr)
        if isinstance(failure, errors.RemoteError):
            print("    " + failure.traceback.replace("\n", "\n    ").rstrip(), file=sys.stderr)
        for result in getattr(failure, "results", ()):
            print(f"    {result.name}: {result.reason}", file=sys.stderr)
            for line in result.stderr.strip().splitlines()[-3:]:
                print(f"      {line}", file=sys.stderr)
    if len(error.exceptions) > len(shown):
        print(f"  and {len(error.exceptions) - len(shown)} more", file=sys.stderr)


def _print_traceback(error: BaseException, path: Path) -> None:
    """Print the program's traceback, from its own first frame on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != str(path):
        frames = frames.tb_next
    traceback.print_exception(error.with_traceback(frames or error.__traceback__))
