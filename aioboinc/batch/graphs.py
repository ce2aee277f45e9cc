"""Graphs of dask on an executor: each function is a call, and what puts their results together is done here."""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aioboinc import errors

__all__ = ["get"]

_MAX_AHEAD = 16384
"""Calls that are made before their results are there."""

Submit = Callable[..., "concurrent.futures.Future[Any]"]


def get(submit: Submit, graph: Any, keys: Any, **options: Any) -> Any:
    """Compute *keys* of *graph*, as a scheduler of dask does. Functions are called by *submit*.

    Raises `errors.ProgramError` or `errors.NotData` for a task that is no function with arguments that are data, and
    the errors of the jobs.
    """
    from dask import local

    pending: set[concurrent.futures.Future[Any]] = set()

    def work(_: Any, tasks: Sequence[tuple[Any, ...]]) -> concurrent.futures.Future[Any]:
        ((key, (task, data), *_rest),) = tasks
        outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def done(call: concurrent.futures.Future[Any]) -> None:
            pending.discard(call)
            if call.cancelled():
                outcome.cancel()
            elif (error := call.exception()) is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result([(key, (call.result(), None), False)])

        call = _called(submit, key, task, data)
        pending.add(call)
        call.add_done_callback(done)
        return outcome

    try:
        return local.get_async(work, _MAX_AHEAD, graph, keys, chunksize=1, **options)
    finally:
        for call in list(pending):
            call.cancel()


def _called(submit: Submit, key: Any, task: Any, data: Mapping[Any, Any]) -> concurrent.futures.Future[Any]:
    """Begin to compute *task*, which needs *data*; return the future of its result."""
    if _is_call(task):
        _check_name(task.func)
        args, kwargs = (
            _values(task.args, data, key),
            dict(zip(task.kwargs, _values(task.kwargs.values(), data, key), strict=True)),
        )
        try:
            return submit(task.func, *args, **kwargs)
        except (errors.ProgramError, errors.NotData) as error:
            error.add_note(
                "Of dask, functions with arguments that are data can be sent, as dask.delayed makes them."
            )
            raise
    (value,) = _values([task], data, key)
    here: concurrent.futures.Future[Any] = concurrent.futures.Future()
    here.set_result(value)
    return here


def _values(nodes: Any, data: Mapping[Any, Any], key: Any) -> list[Any]:
    """Return what *nodes* stand for: results of other tasks, containers of them, or just themselves."""
    from dask import _task_spec as spec

    values = []
    for node in nodes:
        if isinstance(node, spec.TaskRef):
            values.append(data[node.key])
        elif isinstance(node, spec.GraphNode):
            _check(node, key)
            values.append(node(data))
        else:
            values.append(node)
    return values


def _check(node: Any, key: Any) -> None:
    """Refuse a function inside of the arguments of another."""
    from dask import _task_spec as spec

    if _is_call(node):
        raise errors.ProgramError(
            f"dask's task {key}: it calls {getattr(node.func, '__name__', node.func)} inside of its arguments, which "
            "can't be sent: make it a task of its own, by dask.delayed"
        )
    if isinstance(node, spec.Task):
        for inner in (*node.args, *node.kwargs.values()):
            if isinstance(inner, spec.GraphNode):
                _check(inner, key)


def _check_name(function: Any) -> None:
    """Refuse a function under whose name its program has what dask has made of it: hosts would get that."""
    from dask.delayed import Delayed

    name = getattr(function, "__name__", "")
    if isinstance(getattr(sys.modules.get(getattr(function, "__module__", "")), name, None), Delayed):
        raise errors.ProgramError(
            f"{name} can't be sent to hosts: its decorator, dask.delayed, stands in its place: write "
            f"dask.delayed({name}) where it is called"
        )


def _is_call(node: Any) -> bool:
    from dask import _task_spec as spec

    return isinstance(node, spec.Task) and not isinstance(node, spec.NestedContainer)
