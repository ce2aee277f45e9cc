"""joblib's calls as jobs: ``import aioboinc.joblib``, then ``joblib.parallel_config(backend="aioboinc")``."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import joblib
from joblib.parallel import ParallelBackendBase

from aioboinc.batch import executor

__all__ = ["Backend"]

_MAX_CALLS = 1024
"""Calls at a time where joblib asks for as many as there can be."""


class Backend(ParallelBackendBase):  # type: ignore[misc]
    """Makes each call of `joblib.Parallel` a job of a batch. The arguments are those of `aioboinc.Executor`."""

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(
        self,
        batch_dir: str | os.PathLike[str] | None = None,
        *,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._open = functools.partial(executor.Executor, batch_dir, **options)
        self._executor: executor.Executor | None = None
        self._calls: set[concurrent.futures.Future[Any]] = set()

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return how many calls are made at a time: hosts may be many."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return n_jobs if n_jobs is not None and n_jobs > 0 else _MAX_CALLS

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_options: Any) -> int:
        """Open the batch."""
        self.parallel = parallel
        if self._executor is None:
            self._executor = self._open()
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Any:
        """Make the calls of a batch of joblib's; *callback* gets their futures."""
        futures = [self._submitted(*item) for item in func.items]
        left = len(futures)
        lock = threading.Lock()

        def done(future: concurrent.futures.Future[Any]) -> None:
            nonlocal left
            self._calls.discard(future)
            with lock:
                left -= 1
                is_last = left == 0
            if is_last and callback is not None:
                callback(futures)

        self._calls.update(futures)
        for future in futures:
            future.add_done_callback(done)
        return futures

    def _submitted(self, function: Any, args: Any, kwargs: Any) -> concurrent.futures.Future[Any]:
        assert self._executor is not None
        try:
            return self._executor.submit(function, *args, **kwargs)
        except Exception as error:  # joblib may be in a callback of ours, where nobody would hear of it
            failed: concurrent.futures.Future[Any] = concurrent.futures.Future()
            failed.set_exception(error)
            return failed

    def retrieve_result_callback(self, out: Any) -> list[Any]:
        """Return the results of a batch of joblib's."""
        return [future.result() for future in out]

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what is not done. ^C leaves the batch as it is, so that it can be gone on with."""
        kind = sys.exc_info()[0]
        if self._executor is not None and kind is not None and not issubclass(kind, Exception):
            self._executor.__exit__(kind, None, None)
            self._executor = None
        for future in list(self._calls):
            future.cancel()
        if ensure_ready:
            self.configure(self.parallel.n_jobs, self.parallel)

    def terminate(self) -> None:
        """Leave the batch."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None


joblib.register_parallel_backend("aioboinc", Backend)
