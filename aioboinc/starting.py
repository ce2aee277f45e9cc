"""The first and the last moments of a process: streams that are there, one line for what is missing, a quiet ^C.

It imports nothing that takes time, and nothing of ours: what it runs is imported by its name.
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
"""Bytes that a process must be allowed: with less, libraries abort it, and no line of ours would be seen."""
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + 13
"""As of a program that SIGPIPE has ended."""


def run(module: str, program: str, extra: str = "") -> int:
    """Import *module* and run its ``main()``; return the exit status. *program* is its name for people.

    *extra* names the optional requirements that it takes. A signal that comes before all is imported ends the
    process at once, there being nothing to put in order.
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
    gc.disable()  # what is imported stays
    try:
        main = importlib.import_module(module).main
    except (ImportError, MemoryError) as error:
        _complain(program, _missing(error, extra))
        return _ended(USAGE)
    gc.freeze()
    gc.enable()
    if handler is not None:  # not one of Python's
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
        if not isinstance(error, ImportError) and not lacks_memory(error):  # commands import what they alone need
            raise
        _complain(program, _missing(error, extra))
        return USAGE


def hush() -> None:
    """Let SIGINT end this process at once, without a word, unless it is ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))


def is_closed(descriptor: int) -> bool:
    """Tell whether nobody reads any more what is written to a pipe or socket."""
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
    """Open the null device where one of the three is closed: the next file would be taken for it."""
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
    """Write out what was printed, and see to it that the end of the interpreter is as quiet."""
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
    """Let what a stream still has go nowhere: the interpreter would complain of it at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
