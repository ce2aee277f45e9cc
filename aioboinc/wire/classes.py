"""The registry of classes whose objects cross the wire. How their objects are written: `layouts`.

Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from aioboinc.wire import forms, layouts

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["OPAQUE", "Registry"]


class Registry:
    """The classes whose objects may cross, by exact module and name; the default is none.

    *classes* gives for module and name the class, or a function without arguments that returns it.
    """

    def __init__(self, classes: Mapping[tuple[str, str], type | Callable[[], type]] | None = None) -> None:
        self._classes = dict(classes or {})
        self._modules: frozenset[str] = frozenset()
        self._replaceable: dict[type, list[bytes]] = {}
        self.layouts: dict[type, layouts.Layout | layouts.Members] = {}
        """How objects are written, of the classes seen so far."""
        self.readers: dict[bytes, Any] = forms.readers(forms.numpy_value)
        """What names on the wire stand for, of those seen so far: a function of the arguments of a call, the
        layouts that an object may have, or a Constant."""

    @classmethod
    def of_modules(
        cls, names: Iterable[str], classes: Mapping[tuple[str, str], type | Callable[[], type]] | None = None
    ) -> Registry:
        """Return the registry of all classes at top level of the modules with these (dotted) names, and *classes*.

        On decoding, a module that has not been imported yet is imported when an object of a class of it comes.
        """
        registry = cls(classes)
        registry._modules = frozenset(names)
        return registry

    def find(self, module: str, name: str) -> type:
        """Return the class *name* of *module*. Raises LookupError."""
        entry: Any = self._classes.get((module, name))
        if entry is None and module in self._modules:
            found = _imported(module)
            entry = vars(found).get(name)
            if entry is None and _is_of_python(found):
                raise LookupError(
                    f"class {name!r} is in a file of the program that is named like Python's own module {module!r}, "
                    "and here that one is imported: give the file another name"
                )
        elif entry is not None and not isinstance(entry, type):
            entry = entry()
        if not isinstance(entry, type) or (entry.__module__, entry.__qualname__) != (module, name):
            raise LookupError(f"class {name!r} of module {module!r} is not one of the program's")
        return entry

    def has_module(self, module: str) -> bool:
        """Return whether classes of *module* may cross."""
        return module in self._modules or any(module == known for known, _ in self._classes)

    def knows(self, cls: type) -> bool:
        """Return whether objects of *cls* may cross."""
        try:
            return self.find(cls.__module__, cls.__qualname__) is cls
        except LookupError:
            return False

    def layout(self, cls: type) -> layouts.Layout | layouts.Members:
        """Return how objects of *cls* are written. Raises LookupError if it is not here, Refused."""
        if not self.knows(cls) or "." in cls.__qualname__:
            raise LookupError(cls.__qualname__)
        if len(cls.__module__) + len(cls.__qualname__) > layouts.MAX_NAME:
            raise forms.Refused("the name of its class is too long")
        layout = self.layouts[cls] = layouts.layout_of(cls)
        self._note(cls)
        return layout

    def refresh(self) -> None:
        """Forget classes that have been replaced by others of their names; to be called before each value."""
        for cls, keys in list(self._replaceable.items()):
            if not self.knows(cls):
                self._replaceable.pop(cls, None)
                self.layouts.pop(cls, None)
                for key in keys:
                    self.readers.pop(key, None)

    def _note(self, cls: type, *keys: bytes) -> None:
        """Remember that *cls*, under the name *keys* on the wire, may be replaced: a function returns it."""
        if not isinstance(self._classes.get((cls.__module__, cls.__qualname__), cls), type):
            self._replaceable.setdefault(cls, []).extend(keys)

    def reader(self, key: bytes) -> Any:
        """Return what ``module\\nname``, not in `readers` yet, stands for. Raises LookupError, ValueError."""
        module, name = key.decode("utf-8").split("\n")
        name, dot, member = name.partition(".")
        cls = self.find(module, name)
        try:
            layout = layouts.layout_of(cls)
        except forms.Refused as refused:
            raise LookupError(refused.reason) from None
        found: Any = (layout,)
        if isinstance(layout, layouts.Members):
            value: Any = cls.__dict__["_member_map_"].get(member)
            if value is None or value._name_ != member:
                raise LookupError(f"{name} has no member {member!r}")
            found = layouts.Constant(value)
        elif dot:
            raise LookupError(f"{name} is not an enumeration")
        self.readers[key] = found
        self._note(cls, key)
        return found

    def unhashable(self, kind: type, items: list[Any]) -> Any:
        """Return what stands for a *kind* (dict, set, frozenset) of *items* without hash, or raise ValueError."""
        raise ValueError("a key or member that has no hash")


class _OpaqueRegistry(Registry):
    def __init__(self) -> None:
        super().__init__()
        self.readers = forms.readers(functools.partial(layouts.Instance, "numpy"))

    def find(self, module: str, name: str) -> type:
        raise LookupError("no class is here")

    # Names come from hosts, so they are not kept for ever.
    @functools.lru_cache(maxsize=1000)  # noqa: B019
    def reader(self, key: bytes) -> Any:
        module, name = key.decode("utf-8").split("\n")
        name, dot, member = name.partition(".")
        if not module or not name or "." in member or bool(dot) != bool(member):
            raise LookupError("a name that no class has")
        if member:
            return layouts.Constant(layouts.Member(module, name, member))
        ways = (layouts.DICT, _pairs), (layouts.SLOTS, _pairs), (layouts.FIELDS, list), (layouts.TUPLE, tuple)
        return tuple(layouts.Opaque(module, name, around, make) for around, make in ways)

    def unhashable(self, kind: type, items: list[Any]) -> Any:
        if not all(map(_may_have_hash, items[0::2] if kind is dict else items)):
            raise ValueError("a key or member that has no hash")
        return layouts.Instance("builtins", kind.__name__, tuple(items))


OPAQUE = _OpaqueRegistry()
"""For decoding without the program: objects become `Instance`, members of enumerations `Member`."""


def _pairs(parts: list[Any]) -> dict[str, Any]:
    return dict(zip(parts[0::2], parts[1::2]))  # noqa: B905


def _may_have_hash(value: Any) -> bool:
    if type(value) is layouts.Instance:
        return (value.module, value.name) not in (
            ("builtins", "set"),
            ("builtins", "dict"),
            ("numpy", "ndarray"),
        )
    if type(value) in (tuple, frozenset):
        return all(map(_may_have_hash, value))
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_of_python(module: types.ModuleType) -> bool:
    """Return whether *module* is of the standard library, as far as can be told."""
    if module.__name__.partition(".")[0] in sys.builtin_module_names:
        return True
    file = getattr(module, "__file__", None) or ""
    library = os.path.join(os.path.dirname(os.path.realpath(os.__file__)), "")
    inside = os.path.realpath(file)
    return inside.startswith(library) and "site-packages" not in inside[len(library) :]


def _imported(module: str) -> types.ModuleType:
    found = sys.modules.get(module)
    if found is None:
        try:
            found = importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise LookupError(f"module {module} can't be imported: {type(error).__name__}: {error}") from error
    return found
