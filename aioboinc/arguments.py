"""Checks arguments of the public functions where they are passed, and refuses wrong ones in the caller's terms.

Each function gets *what* it checks, such as ``pyboinc_call: quorum``, and returns the value in the form used
internally. It raises `errors.ArgumentError` for a value of the wrong kind, and `errors.BoundsError` for one out of
bounds.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import math
import numbers
import operator
import os
from collections.abc import AsyncIterable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from aioboinc import errors

__all__ = [
    "chunk",
    "file_names",
    "flag",
    "function",
    "handler",
    "iterables",
    "number",
    "options",
    "path",
    "rename",
    "shown",
    "slave",
    "version",
    "whole",
]

_MAX_SHOWN = 60
"""Characters to show of a refused value."""
_NEAR = 0.75
"""How near a name must be to another one to be taken for it, as `difflib` measures it."""
_CALL = "pyboinc_call: "


def whole(what: str, value: object, least: int, most: int | None = None, *, unit: str = "") -> int:
    """Return *value*, a whole number from *least* to *most*; numpy's are accepted, truth values are not."""
    bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
    wanted = f"must be a whole number {bounds}{f', in {unit}' if unit else ''}"
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]  # the except clause handles it
    except TypeError:
        raise errors.ArgumentError(f"{what}={shown(value)}: {wanted}") from None
    if number < least or (most is not None and number > most):
        raise errors.BoundsError(f"{what}={shown(value)}: {wanted}")
    return number


def number(what: str, value: object, *, unit: str) -> float:
    """Return *value*, a finite number greater than 0."""
    wanted = f"must be a positive number, in {unit}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise errors.ArgumentError(f"{what}={shown(value)}: {wanted}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not 0 < number < math.inf:
        raise errors.BoundsError(f"{what}={shown(value)}: {wanted}")
    return number


def flag(what: str, value: object) -> bool:
    """Return *value*, a truth value: words such as ``"no"`` are true for Python."""
    if not isinstance(value, bool):
        raise errors.ArgumentError(f"{what}={shown(value)}: must be True or False")
    return value


def path(what: str, value: object) -> Path | None:
    """Return *value*, a path or None."""
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise errors.ArgumentError(f"{what}={shown(value)}: must be a path, str or Path")
    text = os.fspath(value)
    if not isinstance(text, str):
        raise errors.ArgumentError(f"{what}={shown(value)}: must be a path, str or Path, not of bytes")
    if not text or "\0" in text:
        raise errors.UsageError(f"{what}={shown(value)}: no path is like that")
    return Path(text)


def function(what: str, value: Any, use: str, *arguments: str) -> None:
    """Refuse a *value* that is no function of these *arguments*; *use* says what it is for."""
    if inspect.iscoroutine(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
        if inspect.iscoroutine(value):
            value.close()  # otherwise Python would warn about it, too
        raise errors.ArgumentError(
            f"{what}: must be a function, not what a call of it returns: write {value.__name__}, not "
            f"{value.__name__}()"
        )
    if not callable(value):
        raise errors.ArgumentError(f"{what}={shown(value)}: must be a function: {use}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return  # unknown for some built-in functions
    try:
        signature.bind(*arguments)
    except TypeError as error:
        name = getattr(value, "__name__", type(value).__name__)
        wanted = f"one argument, the {arguments[0]}" if arguments else "no arguments"
        if len(arguments) > 1:
            wanted = f"two arguments, the {arguments[0]} and the {arguments[1]}"
        raise errors.ArgumentError(
            f"{what}: it is called with {wanted}, and {name}{signature} can't be: {error}"
        ) from None


def handler(what: str, value: Any, argument: str) -> bool:
    """Return whether *value* is to be called with each *argument* and its job: it asks for two, or has a ``job``.

    Refuses a handler that can't be called with the *argument*, or would do nothing.
    """
    takes_job = False
    with contextlib.suppress(TypeError, ValueError):  # no function, or a built-in one without a known signature
        positional = [
            parameter
            for parameter in inspect.signature(value).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        second = positional[1] if len(positional) > 1 else None
        takes_job = second is not None and (second.name == "job" or second.default is second.empty)
    function(what, value, f"it is called with each {argument}", *([argument, "job"] if takes_job else [argument]))
    if inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        raise errors.ArgumentError(
            f"{what}: {value.__name__} has a yield in it, so that a call of it does nothing"
        )
    return takes_job


def chunk(what: str, value: object) -> int:
    """Return how many calls may share a workunit; 0 for ``"auto"``."""
    if isinstance(value, str) and value == "auto":
        return 0
    with contextlib.suppress(errors.UsageError):
        return whole(what, value, 1)
    raise errors.ArgumentError(f'{what}={shown(value)}: must be a whole number of 1 or more, or "auto"')


def slave(value: object) -> None:
    """Refuse what is not the name of a slave file."""
    if callable(value) and not isinstance(value, str | Path):
        name = getattr(value, "__name__", type(value).__name__)
        raise errors.ArgumentError(
            f"pyboinc_call: the slave must be the name of a Python file, 'app_slave.py' for example, and {name} is a "
            "function or class: put it into a file that gets its input by pyboinc_get_input()"
        )
    if not isinstance(value, str | Path):
        raise errors.ArgumentError(
            f"pyboinc_call: the slave must be the name of a Python file, 'app_slave.py' for example, not "
            f"{shown(value)}"
        )
    if not str(value) or "\0" in str(value):
        raise errors.UsageError(f"pyboinc_call: the slave must be the name of a Python file, not {shown(value)}")


def iterables(what: str, values: Sequence[object]) -> None:
    """Refuse *values* that are not iterable, and no values at all."""
    if not values:
        raise errors.ArgumentError(f"{what}: it takes something to go through, a list of inputs for example")
    for value in values:
        if not isinstance(value, Iterable | AsyncIterable):
            raise errors.ArgumentError(
                f"{what}: {shown(value)} can't be gone through: it takes a list, for example"
            )


def version(value: object) -> str | None:
    """Return the *version* of a program that a call names, or None."""
    if value is None or (isinstance(value, str) and value):
        return value
    raise errors.ArgumentError(f"version={shown(value)}: must be text that is not empty, '2' for example")


def file_names(value: object) -> tuple[str | Path, ...]:
    """Return ``include``: a list of names of files."""
    wanted = "must be a list of names of files and folders, include=['table.csv'] for example"
    if isinstance(value, str | bytes | Path) or not isinstance(value, Collection):
        raise errors.ArgumentError(f"pyboinc_call: include={shown(value)}: {wanted}")
    for name in value:
        if not isinstance(name, str | Path):
            raise errors.ArgumentError(f"pyboinc_call: include={shown(value)}: {wanted}, not {shown(name)}")
        if not str(name) or "\0" in str(name):
            raise errors.UsageError(f"pyboinc_call: include={shown(value)}: no file has the name {shown(name)}")
    return tuple(value)


def options(given: Iterable[str], known: Iterable[str], own: Iterable[str] = ("include", "version")) -> None:
    """Refuse options that are not *known*. The function that has them may have others of its *own*."""
    known = sorted(known)
    others = sorted({*known, *own})
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, others, 1, _NEAR)
            remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(others)}"
            raise errors.ArgumentError(f"pyboinc_call: there is no option {name}: {remedy}")


def rename(error: errors.UsageError, caller: str) -> None:
    """Let *error*, if it is of the arguments of a call, name *caller* in place of ``pyboinc_call``."""
    text = str(error.args[0]) if error.args else ""
    if text.startswith(_CALL):
        error.args = (f"{caller}: {text[len(_CALL) :]}", *error.args[1:])


def shown(value: object) -> str:
    """Return *value* as it is shown where it is refused, in one short line."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
