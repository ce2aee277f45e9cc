"""Whether anybody would notice the end of a slave's Python.

At its end the interpreter takes its modules apart. After a fork that costs a short job several times what it costs
itself, as each page of memory is copied. It is left out where nothing that was made since the fork could notice: no
thread, no module but the program's, no exit function, no object whose end does anything. Whatever is not known to be
harmless is taken not to be.
"""

from __future__ import annotations

import _thread
import atexit
import builtins
import gc
import sys
import types
import weakref
from collections.abc import Iterable
from typing import Any

__all__ = ["Before"]

_HARMLESS: frozenset[type] = frozenset(
    (
        *(thing for thing in vars(builtins).values() if type(thing) is type),
        *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, types.CellType),
        *(types.CodeType, types.MappingProxyType, types.SimpleNamespace, types.GenericAlias, types.UnionType),
        *(types.GetSetDescriptorType, types.MemberDescriptorType, types.WrapperDescriptorType),
        *(types.MethodDescriptorType, types.ClassMethodDescriptorType, types.MethodWrapperType),
    )
)
"""Types of the interpreter whose objects just disappear. What they refer to is looked at by itself."""


class Before:
    """What there is before the fork: to be made then, and frozen (`gc.freeze`)."""

    def __init__(self) -> None:
        self._modules = frozenset(sys.modules)
        self._streams = (sys.stdout, sys.stderr)

    def is_end_unseen(self, own: Iterable[str]) -> bool:
        """Say whether nobody would notice the end of this process, a fork, whose program has the modules *own*.

        It has one exit function, ours.
        """
        return (
            atexit._ncallbacks() == 1
            and not _thread._count()
            and self._modules.issuperset(sys.modules.keys() - {"pyboinc", *own})
            and sys.stdout is self._streams[0]
            and sys.stderr is self._streams[1]
            and sys.gettrace() is None
            and sys.getprofile() is None
            and all(map(_Judge().is_harmless, gc.get_objects()))
        )


class _Judge:
    """Knows the objects whose end does nothing. A class is judged once."""

    def __init__(self) -> None:
        self._classes: dict[type, bool] = dict.fromkeys(_HARMLESS, True)

    def is_harmless(self, thing: object) -> bool:
        """Say whether the end of *thing* does nothing, nor that of any instance if it is a class."""
        cls = type(thing)
        if cls is weakref.ref:
            return thing.__callback__ is None  # type: ignore[attr-defined]
        return self._of_class(cls) and (not issubclass(cls, type) or self._of_class(thing))  # type: ignore[arg-type]

    def _of_class(self, cls: type) -> bool:
        known = self._classes.get(cls)
        if known is None:
            known = self._classes[cls] = all(map(_is_plain, _field(cls, "__mro__")))
        return known


def _is_plain(cls: type) -> bool:
    """Say whether *cls*, apart from its bases, does nothing at the end of an instance."""
    if cls in _HARMLESS:
        return True
    module = sys.modules.get(str(_field(cls, "__module__")))
    is_written_in_python = str(getattr(module, "__file__", "")).endswith(".py")
    return is_written_in_python and "__del__" not in _field(cls, "__dict__")


def _field(cls: type, name: str) -> Any:
    """Return an attribute of *cls* that its metaclass may hide."""
    return vars(type)[name].__get__(cls)
