"""What an exception is, whatever its class pretends: read past properties, methods and texts that fail or lie.

Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["causes", "field", "is_a", "members", "text", "traceback", "type_name"]

_GROUP = getattr(builtins, "BaseExceptionGroup", None)  # Python 3.11


def is_a(error: BaseException, *kinds: type) -> bool:
    """Say whether *error* is one of *kinds*; ``isinstance`` would ask its ``__class__``, too."""
    return issubclass(type(error), kinds)


def field(error: BaseException, kind: type, name: str) -> Any:
    """Return the attribute *name* of *kind* as the interpreter keeps it in *error*; None if that is no *kind*."""
    return vars(kind)[name].__get__(error) if is_a(error, kind) else None


def text(value: object) -> str:
    """Return ``str(value)``, or words that say why it can't be had."""
    try:
        return "".join((str(value),))  # str() may return a subclass of str
    except BaseException as error:
        return f"<its text can't be had: {type_name(error)}>"


def type_name(error: BaseException) -> str:
    """Return the qualified name of the class of *error*."""
    cls = type(error)
    name = "".join((vars(type)["__qualname__"].__get__(cls),))
    try:
        module = vars(type)["__module__"].__get__(cls)
    except AttributeError:
        return name
    return f"{module}.{name}" if type(module) is str and module != "builtins" else name


def traceback(error: BaseException) -> TracebackType | None:
    """Return the traceback of *error*."""
    trace: TracebackType | None = field(error, BaseException, "__traceback__")
    return trace


def members(error: BaseException) -> list[BaseException]:
    """Return the exceptions in *error* if it is a group."""
    return list(field(error, _GROUP, "exceptions") or ()) if _GROUP is not None else []


def causes(error: BaseException) -> list[BaseException]:
    """Return the exceptions that led to *error* directly: the members of a group, then its cause or its context."""
    cause = field(error, BaseException, "__cause__")
    if cause is None and not field(error, BaseException, "__suppress_context__"):
        cause = field(error, BaseException, "__context__")
    return [*members(error), *([] if cause is None else [cause])]
