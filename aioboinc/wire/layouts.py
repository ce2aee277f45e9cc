"""Layouts: how objects of a class are written, taken apart and made again.

An object is its attributes, by value: neither way is a method of it called, not ``__init__``, ``__reduce__``,
``__getstate__`` or ``__setstate__``. Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
from typing import TYPE_CHECKING, Any

from aioboinc.wire import forms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "DICT",
    "FIELDS",
    "MAX_NAME",
    "SLOTS",
    "TUPLE",
    "Constant",
    "Instance",
    "Layout",
    "Member",
    "Members",
    "Opaque",
    "layout_of",
]


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


MAX_NAME = 200
DICT = (b")\x81}(", b"ub")
SLOTS = (b")\x81N}(", b"u\x86b")
FIELDS = (b")\x81](", b"eb")
TUPLE = (b"(", b"t\x81")


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
        around = SLOTS if slots or not has_dict else DICT
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
        super().__init__(cls.__module__, cls.__qualname__, FIELDS, named=False)
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
        super().__init__(cls.__module__, cls.__qualname__, TUPLE, named=False)
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


class Opaque(Layout):
    """Objects of classes that are not here, in one of the layouts above."""

    __slots__ = ("_make", "_module", "_name")

    def __init__(
        self, module: str, name: str, around: tuple[bytes, bytes], make: Callable[[list[Any]], Any]
    ) -> None:
        super().__init__(module, name, around, named=around in (DICT, SLOTS))
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
            if "." in name or "\n" in name or len(name) > MAX_NAME:
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
