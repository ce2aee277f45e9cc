"""Classes whose objects cross the wire: which they are, how their objects are taken apart and made again.

An object is its attributes, by value: neither way is a method of it called, not ``__init__``, ``__reduce__``,
``__getstate__`` or ``__setstate__``. Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import os
import sys
import types
from typing import TYPE_CHECKING, Any

from aioboinc.wire import forms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["OPAQUE", "Constant", "Instance", "Layout", "Member", "Members", "Registry"]


@dataclasses.dataclass(frozen=True)
class Instance:
    """An object as data, for those who have not its class."""

    module: str
    """The module of its class."""
    name: str
    """The class."""
    state: Any
    """Its attributes as a dict; of a named tuple the tuple; of a frozen dataclass with ``slots=True`` the
    list of its fields' values; of a numpy value the tuple of arguments that make it (of an array shape,
    dtype, bytes); of a set, frozenset or dict (in module builtins) that has instances for members or keys
    the tuple of its members, or of keys and values in turn."""

    __hash__ = None  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class Member:
    """A member of an enumeration, for those who have not its class."""

    module: str
    """The module of its class."""
    name: str
    """The class."""
    member: str
    """The name of the member."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """What stands for itself on the wire: a member of an enumeration."""

    value: Any
    """The member."""


class Layout:
    """How objects of a class are written, taken apart and made."""

    __slots__ = ("closing", "head", "named", "opening")

    def __init__(self, module: str, name: str, around: tuple[bytes, bytes], *, named: bool) -> None:
        self.head = f"c{module}\n{name}\n".encode()
        """The name of the class."""
        self.opening, self.closing = around
        """What is between that and the parts, and after them."""
        self.named = named
        """Whether each part is a name and a value."""

    def take(self, value: Any) -> list[tuple[str, Any]]:
        """Return names and values of the parts of *value*, in the order of the wire. Raises Refused."""
        raise NotImplementedError

    def make(self, parts: list[Any]) -> Any:
        """Return an object of *parts* (names and values in turn, or values); ValueError if there is none."""
        raise NotImplementedError


_MAX_NAME = 200
_DICT = (b")\x81}(", b"ub")
_SLOTS = (b")\x81N}(", b"u\x86b")
_FIELDS = (b")\x81](", b"eb")
_TUPLE = (b"(", b"t\x81")


def _check_names(names: list[Any]) -> None:
    previous = ""
    for name in names:
        if type(name) is not str or name <= previous:
            raise ValueError("attributes that are not names in their order")
        if name[:2] == "__" == name[-2:]:
            raise ValueError("an attribute with two underscores at both ends")
        previous = name


class _Attributes(Layout):
    """Objects with ``__dict__``, ``__slots__`` or both; with slots, all attributes go the way of slots."""

    __slots__ = ("_cls", "_has_dict", "_hidden", "_slots")

    def __init__(
        self, cls: type, slots: dict[str, Any], *, has_dict: bool, hidden: Sequence[tuple[str, Any]] = ()
    ) -> None:
        around = _SLOTS if slots or not has_dict else _DICT
        super().__init__(cls.__module__, cls.__qualname__, around, named=True)
        self._cls = cls
        self._slots = slots
        self._hidden = hidden
        self._has_dict = has_dict

    def take(self, value: Any) -> list[tuple[str, Any]]:
        attributes = object.__getattribute__(value, "__dict__") if self._has_dict else {}
        if self._slots:
            attributes = dict(attributes)
            for name, slot in self._slots.items():
                try:
                    found = slot.__get__(value)
                except AttributeError:
                    continue  # not set
                if name in attributes:
                    raise forms.Refused(f"has the attribute {name} twice: in its __dict__ and in a slot")
                attributes[name] = found
            for name, slot in self._hidden:
                if _is_set(slot, value):
                    raise forms.Refused(f"has the attribute {name} in slots of two of its classes: rename one")
        try:
            names = sorted(attributes)
            _check_names(names)
        except (TypeError, ValueError):
            raise forms.Refused(_wrong_name(attributes)) from None
        return [(name, attributes[name]) for name in names]

    def make(self, parts: list[Any]) -> Any:
        names = parts[0::2]
        _check_names(names)
        made: Any = object.__new__(self._cls)
        attributes = object.__getattribute__(made, "__dict__") if self._has_dict else None
        for name, value in zip(map(sys.intern, names), parts[1::2]):  # noqa: B905
            if name in self._slots:
                self._slots[name].__set__(made, value)
            elif attributes is None:
                raise ValueError("an attribute that the class has no slot for")
            else:
                attributes[name] = value
        return made


def _is_set(slot: Any, value: Any) -> bool:
    try:
        slot.__get__(value)
    except AttributeError:
        return False
    return True


def _wrong_name(attributes: Iterable[Any]) -> str:
    """Say what is wrong with the names of *attributes*, one of which can't be sent."""
    for name in attributes:
        if type(name) is not str or not name:
            return f"has an attribute whose name is no plain string: a {type(name).__name__}"
        if name == "__orig_class__":
            return (
                "remembers the types in brackets that it was made with, as Box[int](1) does, in the attribute "
                "__orig_class__, and types are not data: make it without them, as Box(1), or delete that attribute"
            )
        if name[:2] == "__" == name[-2:]:
            return f"has the attribute {name}: names with two underscores at both ends are Python's own; rename it"
    return "has attributes whose names can't be sent"


class _Fields(Layout):
    """Frozen dataclasses with ``slots=True``: their ``__setstate__``, from dataclasses, takes a list."""

    __slots__ = ("_attributes", "_names")

    def __init__(self, cls: type, attributes: _Attributes) -> None:
        super().__init__(cls.__module__, cls.__qualname__, _FIELDS, named=False)
        self._attributes = attributes
        self._names = [field.name for field in dataclasses.fields(cls)]

    def take(self, value: Any) -> list[tuple[str, Any]]:
        attributes = dict(self._attributes.take(value))
        if set(attributes) != set(self._names):
            raise forms.Refused(
                "is a frozen dataclass with slots, and must have all of its fields, and no other attributes"
            )
        return [(name, attributes[name]) for name in self._names]

    def make(self, parts: list[Any]) -> Any:
        if len(parts) != len(self._names):
            raise ValueError("another number of fields than the class has")
        pairs = sorted(zip(self._names, parts), key=lambda pair: pair[0])  # noqa: B905
        return self._attributes.make([part for pair in pairs for part in pair])


class _NamedTuple(Layout):
    __slots__ = ("_cls", "_names")

    def __init__(self, cls: type, names: tuple[str, ...]) -> None:
        super().__init__(cls.__module__, cls.__qualname__, _TUPLE, named=False)
        self._cls = cls
        self._names = names

    def take(self, value: Any) -> list[tuple[str, Any]]:
        if len(value) != len(self._names) or getattr(value, "__dict__", None):
            raise forms.Refused(
                "is a named tuple, and must have all of its fields, and no attributes besides: add fields for them"
            )
        return list(zip(self._names, tuple.__iter__(value)))  # noqa: B905

    def make(self, parts: list[Any]) -> Any:
        if len(parts) != len(self._names):
            raise ValueError("another number of fields than the named tuple has")
        return tuple.__new__(self._cls, parts)


class _Opaque(Layout):
    """Objects of classes that are not here, in one of the layouts above."""

    __slots__ = ("_make", "_module", "_name")

    def __init__(
        self, module: str, name: str, around: tuple[bytes, bytes], make: Callable[[list[Any]], Any]
    ) -> None:
        super().__init__(module, name, around, named=around in (_DICT, _SLOTS))
        self._module = module
        self._name = name
        self._make = make

    def make(self, parts: list[Any]) -> Any:
        if self.named:
            _check_names(parts[0::2])
        return Instance(self._module, self._name, self._make(parts))


class Members:
    """The members of an enumeration, each written as its own name."""

    __slots__ = ("_cls", "_head", "_written")

    def __init__(self, cls: type[enum.Enum]) -> None:
        self._cls = cls
        self._head = f"c{cls.__module__}\n{cls.__qualname__}."
        self._written: dict[str, bytes] = {}

    def write(self, member: Any) -> bytes:
        """Return the bytes of *member*. Raises Refused for combinations of flags and names that don't fit."""
        name = member._name_
        written = self._written.get(name)
        if written is None:
            if self._cls._member_map_.get(name) is not member:
                raise forms.Refused("a combination of flags is not data: send its value")
            if "." in name or "\n" in name or len(name) > _MAX_NAME:
                raise forms.Refused(f"the name of the member {name!r} is not one that can be sent")
            written = self._written[name] = f"{self._head}{name}\n".encode()
        return written


def layout_of(cls: type) -> Layout | Members:
    """Return how objects of *cls* are written; Refused if they are not data."""
    if issubclass(cls, enum.Enum):
        return Members(cls)
    if any("__del__" in base.__dict__ for base in cls.__mro__):
        raise forms.Refused(
            f"class {cls.__qualname__} has __del__: its objects are more than data; send what is in them"
        )
    if issubclass(cls, tuple):
        names = getattr(cls, "_fields", None)
        if type(names) is tuple:
            return _NamedTuple(cls, names)
    try:
        object.__new__(cls)
    except TypeError as error:
        reason = (
            f"objects of class {cls.__qualname__} are more than their attributes ({error}): send what is in them"
        )
        raise forms.Refused(reason) from None
    attributes = _attributes_of(cls)
    set_state = getattr(cls, "__setstate__", None)
    if set_state is not None and set_state is getattr(dataclasses, "_dataclass_setstate", None):
        return _Fields(cls, attributes)
    return attributes


def _attributes_of(cls: type) -> _Attributes:
    slots: dict[str, Any] = {}
    hidden: list[tuple[str, Any]] = []
    has_dict = False
    for base in reversed(cls.__mro__):
        for name, attribute in base.__dict__.items():
            if isinstance(attribute, types.MemberDescriptorType):
                if name in slots:
                    hidden.append((name, slots[name]))
                slots[name] = attribute
        if "__dict__" in base.__dict__:
            has_dict = True
            if not isinstance(base.__dict__["__dict__"], types.GetSetDescriptorType):
                raise forms.Refused(f"class {cls.__qualname__} has a __dict__ of its own making")
    return _Attributes(cls, slots, has_dict=has_dict, hidden=hidden)


class Registry:
    """The classes whose objects may cross, by exact module and name; the default is none.

    *classes* gives for module and name the class, or a function without arguments that returns it.
    """

    def __init__(self, classes: Mapping[tuple[str, str], type | Callable[[], type]] | None = None) -> None:
        self._classes = dict(classes or {})
        self._modules: frozenset[str] = frozenset()
        self._replaceable: dict[type, list[bytes]] = {}
        self.layouts: dict[type, Layout | Members] = {}
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

    def layout(self, cls: type) -> Layout | Members:
        """Return how objects of *cls* are written. Raises LookupError if it is not here, Refused."""
        if not self.knows(cls) or "." in cls.__qualname__:
            raise LookupError(cls.__qualname__)
        if len(cls.__module__) + len(cls.__qualname__) > _MAX_NAME:
            raise forms.Refused("the name of its class is too long")
        layout = self.layouts[cls] = layout_of(cls)
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
            layout = layout_of(cls)
        except forms.Refused as refused:
            raise LookupError(refused.reason) from None
        found: Any = (layout,)
        if isinstance(layout, Members):
            value: Any = cls.__dict__["_member_map_"].get(member)
            if value is None or value._name_ != member:
                raise LookupError(f"{name} has no member {member!r}")
            found = Constant(value)
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
        self.readers = forms.readers(functools.partial(Instance, "numpy"))

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
            return Constant(Member(module, name, member))
        pairs = _Opaque(module, name, _DICT, _pairs), _Opaque(module, name, _SLOTS, _pairs)
        return *pairs, _Opaque(module, name, _FIELDS, list), _Opaque(module, name, _TUPLE, tuple)

    def unhashable(self, kind: type, items: list[Any]) -> Any:
        if not all(map(_may_have_hash, items[0::2] if kind is dict else items)):
            raise ValueError("a key or member that has no hash")
        return Instance("builtins", kind.__name__, tuple(items))


OPAQUE = _OpaqueRegistry()
"""For decoding without the program: objects become `Instance`, members of enumerations `Member`."""


def _pairs(parts: list[Any]) -> dict[str, Any]:
    return dict(zip(parts[0::2], parts[1::2]))  # noqa: B905


def _may_have_hash(value: Any) -> bool:
    if type(value) is Instance:
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
