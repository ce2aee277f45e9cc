"""The end of a call among several: its threads are waited for, and what it has for its exit is called."""

from __future__ import annotations

import _thread
import atexit
import gc
import os
import sys
import types
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple

from . import execution, preparation

__all__ = ["ExitFunctions", "join_threads", "join_workers", "threads"]


class ExitFunctions:
    """The functions that calls register with ``atexit``, kept apart from those of modules and packages.

    A module may need what it has registered until the end of the process, but the next call must not find what this
    one was to tidy up, nor its memory.
    """

    def __init__(self, prepared: preparation.Prepared) -> None:
        """Take the place of ``atexit.register`` and ``atexit.unregister``."""
        self._root = os.path.join(prepared.program.root, "")
        self._main: Optional[Dict[str, Any]] = None
        self._functions: List[Tuple[Callable[..., Any], Tuple[Any, ...], Dict[str, Any]]] = []
        self._originals = atexit.register, atexit.unregister
        atexit.register, atexit.unregister = self._register, self._unregister  # type: ignore[assignment]

    def begin(self, main: types.ModuleType) -> None:
        """Take note that a call with this ``__main__`` begins."""
        self._main = main.__dict__

    def call(self) -> None:
        """Call the functions as Python does at its end, and forget them."""
        while self._functions:
            function, args, kwargs = self._functions.pop()
            try:
                function(*args, **kwargs)
            except SystemExit:
                pass
            except BaseException as error:
                execution.show(error)
        self._main = None

    def hand_over(self) -> None:
        """Leave them to Python, as all that are registered from now on."""
        atexit.register, atexit.unregister = self._originals
        for function, args, kwargs in self._functions:
            atexit.register(function, *args, **kwargs)
        self._functions.clear()

    def _register(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
        if callable(function) and self._is_of_call(sys._getframe(1)):
            self._functions.append((function, args, kwargs))
            return function
        return self._originals[0](function, *args, **kwargs)

    def _unregister(self, function: Callable[..., Any]) -> None:
        self._functions[:] = [entry for entry in self._functions if entry[0] != function]
        self._originals[1](function)

    def _is_of_call(self, frame: Optional[types.FrameType]) -> bool:
        """Say whether the program's own code is at *frame*, and not because one of its modules is imported."""
        if self._main is None or frame is None or not frame.f_code.co_filename.startswith(self._root):
            return False
        while frame is not None and frame.f_code is not execution.execute.__code__:
            if frame.f_code.co_name == "<module>" and frame.f_globals is not self._main:
                return False
            frame = frame.f_back
        return True


def threads() -> FrozenSet[Any]:
    """Return the threads that run beside this one."""
    if not _thread._count() or "threading" not in sys.modules:
        return frozenset()
    threading = sys.modules["threading"]
    return frozenset(set(threading.enumerate()) - {threading.current_thread()})


def join_threads(left: FrozenSet[Any]) -> None:
    """Wait for all threads that are no daemons, are no workers of a pool, and were not *left* before."""
    while True:
        waited = [thread for thread in threads() - left if not thread.daemon and not _is_worker(thread)]
        if not waited:
            return
        for thread in waited:
            thread.join()


def join_workers() -> None:
    """Wait for the workers of pools (`concurrent.futures`) that are gone; those of a module's pool go on."""
    if not any(map(_is_worker, threads())):
        return
    execution.forget()
    gc.collect()  # a pool that nobody shuts down ends its workers when it goes
    for thread in threads():
        if _is_worker(thread) and _is_without_pool(thread):
            thread.join()


def _is_worker(thread: Any) -> bool:
    """Say whether *thread* belongs to a pool of threads, or looks after one of processes."""
    return any(
        thread in getattr(sys.modules.get(f"concurrent.futures.{kind}"), name, ())
        for kind, name in (("thread", "_threads_queues"), ("process", "_threads_wakeups"))
    )


def _is_without_pool(thread: Any) -> bool:
    """Say whether a worker has no pool any more: it has a weak reference to it."""
    try:
        reference = getattr(thread, "executor_reference", None) or thread._args[0]
        return reference() is None
    except (AttributeError, IndexError, TypeError):
        return False  # it has ended, or it is another kind of Python
