"""Starts and ends a process: opens its standard streams, reports what is missing in one line, obeys ^C silently.

It imports nothing slow, and nothing of ours: what it runs is imported by name.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["INTERRUPTED", "PIPE_CLOSED", "USAGE", "hush", "is_closed", "lacks_memory", "run"]

USAGE = 2
"""Exit status for bad input, bad configuration, a missing server, or too little memory."""
MIN_ADDRESS_SPACE = 320 << 20
"""Bytes that a process needs: with less, libraries abort it before it can print a line of ours."""
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + 13
"""Exit status as of a program that SIGPIPE ended."""


def run(module: str, program: str, extra: str = "") -> int:
    """Import *module* and run its ``main()``; return the exit status. *program* is its name for people.

    *extra* names the optional requirements that it needs. A signal that comes before everything is imported ends the
    process at once, because there is nothing to clean up yet.
    """
    _open_standard_streams()
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < MIN_ADDRESS_SPACE:
        _complain(
            program, f"not enough memory: {limit >> 20} MB where {MIN_ADDRESS_SPACE >> 20} are the least; {_MORE}"
        )
        return _ended(USAGE)
    handler = signal.getsignal(signal.SIGINT)
    hush()
    gc.disable()  # imported modules stay alive anyway
    try:
        main = importlib.import_module(module).main
    except (ImportError, MemoryError) as error:
        _complain(program, _missing(error, extra))
        return _ended(USAGE)
    gc.freeze()
    gc.enable()
    if handler is not None:  # None: not installed by Python
        signal.signal(signal.SIGINT, handler)
    return _ended(_run(main, program, extra))


def _run(main: Callable[[], int], program: str, extra: str) -> int:
    try:
        return main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        if not is_closed(1):
            raise
        _complain(program, "standard output was closed; nothing is lost: the same command goes on where it was")
        return PIPE_CLOSED
    except Exception as error:
        if not isinstance(error, ImportError) and not lacks_memory(
            error
        ):  # commands import some modules themselves
            raise
        _complain(program, _missing(error, extra))
        return USAGE


def hush() -> None:
    """Let SIGINT end this process at once and silently, unless it is ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))


def is_closed(descriptor: int) -> bool:
    """Tell whether the reading end of a pipe or socket is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))


def lacks_memory(error: BaseException) -> bool:
    """Tell whether *error* says that there is no memory left, for data, a thread, a process or a library."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(lacks_memory, error.exceptions))
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError)
        and any(sign in text for sign in ("can't start new thread", "allocate memory", "failed to map segment"))
    )


_MORE = "give it more (see ulimit -v), then run the same command again"


def _open_standard_streams() -> None:
    """Open the null device in place of closed streams: otherwise the next file opened would take their place."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
        if getattr(sys, name) is None:
            stream = open(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _missing(error: Exception, extra: str) -> str:
    """Return one line for what could not be imported, or for too little memory."""
    text = " ".join(str(error).split())
    if lacks_memory(error):
        return f"not enough memory: {_MORE}"
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from_checkout = os.path.exists(os.path.join(checkout, "setup.cfg"))
    source = f"-e '{checkout}{extra}'" if from_checkout else f"'aioboinc{extra}'"
    return f"{text}: to install what it needs, run: {sys.executable} -m pip install {source}"


def _complain(program: str, line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"{program}: {line}", file=sys.stderr, flush=True)


def _ended(status: int) -> int:
    """Flush what was printed, and make sure that the interpreter exits silently."""
    hush()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = status or (PIPE_CLOSED if is_closed(stream.fileno()) else 1)
            _discard(stream)
        except ValueError:
            pass  # the program has closed it
    return status


def _discard(stream: Any) -> None:
    """Discard what a stream still holds: the interpreter would complain about it at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
