"""When two outputs of a job agree: byte by byte, within tolerances, or as a function of the project's says.

A validator has no program: it sees objects as `codec.Instance`, with their attributes. Outputs of several calls agree
if they do for each call that both have: one may have stopped at its limit before the other.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import operator
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from aioboinc import errors
from aioboinc.wire import codec, envelope

__all__ = ["BITWISE", "Comparator", "Custom", "Numeric", "parse"]


class Comparator(Protocol):
    """Decides whether outputs agree. Both methods run in a thread and may take their time."""

    def prepare(self, data: bytes) -> Any:
        """Return what is to be kept of an output file, which is well-formed, for `agree`."""

    def agree(self, one: Any, other: Any) -> bool:
        """Tell whether two prepared outputs of the same job agree; symmetric."""


class _Bitwise:
    """Outputs agree if their files are the same."""

    def prepare(self, data: bytes) -> Any:
        if envelope.is_calls(data):
            return _Calls(tuple(map(_sha256, envelope.decode_calls(data)[3])))
        return _sha256(data)

    def agree(self, one: Any, other: Any) -> bool:
        if isinstance(one, _Calls):
            return one.agree(other, operator.eq)
        return bool(one == other)


BITWISE = _Bitwise()


@dataclass(frozen=True)
class _Calls:
    """What is kept of the outputs of several calls, from the first one on."""

    kept: tuple[Any, ...]

    def agree(self, other: Any, agree: Callable[[Any, Any], bool]) -> bool:
        """Tell whether those agree, as *agree* says, that both have."""
        return isinstance(other, _Calls) and all(map(agree, self.kept, other.kept))


@dataclass(frozen=True)
class _Errors:
    """What is kept of an output that tells of an exception: these agree if they are the same."""

    sha256: bytes


def _prepare(data: bytes) -> Any:
    output = envelope.decode(data, codec.OPAQUE)
    if output.status == "calls":
        return _Calls(tuple(map(_prepare_call, output.value)))
    return output.value if output.status == "ok" else _Errors(_sha256(data))


def _prepare_call(piece: bytes) -> Any:
    is_ok, value = envelope.decode_call(piece, codec.OPAQUE)
    return value if is_ok else _Errors(_sha256(piece))


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@dataclass(frozen=True)
class Custom:
    """Outputs agree if *function* says so of their values; two exceptions if they are the same."""

    function: Callable[[Any, Any], bool]

    def prepare(self, data: bytes) -> Any:
        return _prepare(data)

    def agree(self, one: Any, other: Any) -> bool:
        if isinstance(one, _Calls):
            return one.agree(other, self.agree)
        if isinstance(one, _Errors) or isinstance(other, _Errors):
            return bool(one == other)
        return bool(self.function(one, other))


@dataclass(frozen=True)
class Numeric:
    """Outputs agree if they differ in floating-point numbers only, and there by no more than a tolerance.

    Numbers in complex ones, numpy scalars and arrays are meant too; keys of dicts and members of sets are not.
    """

    absolute: float = 0.0
    """Difference that is always allowed."""
    relative: float = 0.0
    """Difference allowed, as a fraction of the larger number."""
    ulps: int = 0
    """Difference allowed, as a number of steps between neighbouring numbers of the type."""

    def prepare(self, data: bytes) -> Any:
        return _prepare(data)

    def agree(self, one: Any, other: Any) -> bool:
        if type(one) is not type(other):
            return False
        agree = self._RULES.get(type(one))
        return bool(one == other or _are_undefined(one, other)) if agree is None else agree(self, one, other)

    def _floats(self, one: float, other: float) -> bool:
        return self._close(one, other, "d")

    def _complex(self, one: complex, other: complex) -> bool:
        return self._close(one.real, other.real, "d") and self._close(one.imag, other.imag, "d")

    def _sequences(self, one: Sequence[Any], other: Sequence[Any]) -> bool:
        return len(one) == len(other) and all(map(self.agree, one, other))

    def _dicts(self, one: dict[Any, Any], other: dict[Any, Any]) -> bool:
        return one.keys() == other.keys() and all(map(self.agree, one.values(), map(other.get, one)))

    def _instances(self, one: codec.Instance, other: codec.Instance) -> bool:
        if (one.module, one.name) != (other.module, other.name):
            return False
        if one.module == "numpy" and one.name == "ndarray":
            return self._arrays_agree(one.state, other.state)
        if one.module == "numpy" and one.name in _SCALARS:
            (value,), (other_value,) = one.state, other.state
            code = _SCALARS[one.name]
            return all(
                self._close(part, other_part, code)
                for part, other_part in ((value.real, other_value.real), (value.imag, other_value.imag))
            )
        return self.agree(one.state, other.state)

    _RULES: ClassVar[dict[type, Callable[[Numeric, Any, Any], bool]]] = {
        float: _floats,
        complex: _complex,
        list: _sequences,
        tuple: _sequences,
        dict: _dicts,
        codec.Instance: _instances,
        _Calls: lambda self, one, other: one.agree(other, self.agree),
    }

    def _arrays_agree(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
        if one == other:
            return True
        (shape, dtype, raw), (other_shape, other_dtype, other_raw) = one, other
        code = _ARRAYS.get(dtype)
        if code is None or (shape, dtype) != (other_shape, other_dtype):
            return False
        layout = f"<{code}"
        pairs = zip(struct.iter_unpack(layout, raw), struct.iter_unpack(layout, other_raw), strict=True)
        return all(self._close(number, other_number, code) for (number,), (other_number,) in pairs)

    def _close(self, one: float, other: float, code: str) -> bool:
        if one == other:
            return True
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        if math.isinf(one) or math.isinf(other):
            return False
        if abs(one - other) <= max(self.absolute, self.relative * max(abs(one), abs(other))):
            return True
        return self.ulps > 0 and abs(_place(one, code) - _place(other, code)) <= self.ulps


_SCALARS = {"float16": "e", "float32": "f", "float64": "d", "complex64": "f", "complex128": "d"}
_ARRAYS = {"<f2": "e", "<f4": "f", "<f8": "d", "<c8": "f", "<c16": "d"}
"""Layouts, for ``struct``, of the numbers in numpy's types."""
_INTEGERS = {"e": "h", "f": "i", "d": "q"}


def _are_undefined(one: Any, other: Any) -> bool:
    """Tell whether neither equals itself, as decimal NaNs don't."""
    return bool(one != one and other != other)  # noqa: PLR0124


def _place(number: float, code: str) -> int:
    """Return the place of *number* in the order of all numbers of its type."""
    (bits,) = struct.unpack(f"<{_INTEGERS[code]}", struct.pack(f"<{code}", number))
    if bits >= 0:
        return int(bits)
    lowest = -(1 << (8 * struct.calcsize(f"<{code}") - 1))
    return int(lowest - bits)


_TOLERANCE = re.compile(r"(absolute|relative|ulps)=(\S+)")


def parse(text: str) -> Comparator:
    """Return the comparator that *text* names.

    ``bitwise``; ``numeric:absolute=1e-9,relative=1e-6,ulps=4`` with at least one of the three; or
    ``module:function``, a function of two values that is importable here.

    Raises `errors.UsageError`.
    """
    kind, _, rest = text.partition(":")
    if text == "bitwise":
        return BITWISE
    if kind == "numeric":
        return _numeric(text, rest)
    if not kind or not rest:
        raise errors.UsageError(
            f"comparator {text!r}: give bitwise, numeric:relative=1e-9 (also absolute=, ulps=) or module:function"
        )
    try:
        function = getattr(importlib.import_module(kind), rest)
    except Exception as error:  # whatever importing it may raise
        raise errors.UsageError(f"comparator {text!r}: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise errors.UsageError(f"comparator {text!r}: not a function")
    return Custom(function)


def _numeric(text: str, rest: str) -> Numeric:
    tolerances: dict[str, float] = {}
    for item in rest.split(","):
        match = _TOLERANCE.fullmatch(item)
        try:
            if match is None:
                raise ValueError("give one or more of absolute=, relative=, ulps=, separated by commas")
            value = float(match[2])
            if not 0 <= value < math.inf:
                raise ValueError(f"{item}: must be finite and not negative")
            tolerances[match[1]] = int(match[2]) if match[1] == "ulps" else value
        except ValueError as error:
            raise errors.UsageError(f"comparator {text!r}: {error}") from None
    return Numeric(**tolerances)  # type: ignore[arg-type]
