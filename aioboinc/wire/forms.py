"""Values that are written as a call of their type with plain arguments: dates, decimals, numpy arrays.

On the wire a form is what pickle makes of ``type(*arguments)``, so that ``pickle.load`` reads it. Our reader
calls nothing by name: it looks the name up among the readers below, and each checks its arguments before it
uses them. Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import array
import datetime
import decimal
import fractions
import math
import re
import struct
import sys
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Arguments = Callable[[Any], "tuple[Any, ...]"]
    Reader = Callable[..., Any]

__all__ = ["WRITERS", "Refused", "numpy_value", "numpy_writer", "readers"]


class Refused(Exception):
    """A value that is not data; ``steps`` lead to it, the innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []


_DECIMALS = decimal.Context(capitals=1, traps=[])
_MAX_EXPONENT = 425000000  # decimal has no more where numbers have 32 bits
_MAX_FRACTION = 1 << 16  # bits: it takes quadratic time to see that a fraction is in lowest terms
_MAX_NDIM = 32  # numpy 1 has no more
_MAX_ITEMS = 1 << 31  # in an array without items the lengths are limited too: sums along it would have so many
_DTYPE = re.compile(
    r"\|(?P<byte>[biu])1|<[iu][248]|<f[248]|<c(8|16)|(\|S|<U)(?P<length>[1-9][0-9]{0,8})"
    r"|<[Mm]8(\[(?P<unit>([2-9]|[1-9][0-9]{1,8})?(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as))\])?"
)
_ITEM_SIZE = re.compile(r"[0-9]+")
_NO_FORM = "is not data: it has no form that is the same on every machine; send plain numbers, strings or bytes"
_SCALARS: dict[str, tuple[str, type, str]] = {
    # name in numpy: dtype, type of the argument, its layout for the check that it fits
    "bool_": ("|b1", bool, ""),
    "int8": ("|i1", int, "<b"),
    "int16": ("<i2", int, "<h"),
    "int32": ("<i4", int, "<i"),
    "int64": ("<i8", int, "<q"),
    "uint8": ("|u1", int, "<B"),
    "uint16": ("<u2", int, "<H"),
    "uint32": ("<u4", int, "<I"),
    "uint64": ("<u8", int, "<Q"),
    "float16": ("<f2", float, "<e"),
    "float32": ("<f4", float, "<f"),
    "float64": ("<f8", float, ""),
    "complex64": ("<c8", complex, "<f"),
    "complex128": ("<c16", complex, ""),
    "str_": ("<U", str, ""),
    "bytes_": ("|S", bytes, ""),
}


_FLOATS = {
    # dtype: array's codes for its parts, the first as numbers, if there is one, the second as bits; NaN, infinity
    "<f2": ("", "H", 0x7E00, 0x7C00),
    "<f4": ("f", "I", 0x7FC00000, 0x7F800000),
    "<f8": ("d", "Q", 0x7FF8000000000000, 0x7FF0000000000000),
    "<c8": ("f", "I", 0x7FC00000, 0x7F800000),
    "<c16": ("d", "Q", 0x7FF8000000000000, 0x7FF0000000000000),
}


def _check(condition: bool) -> None:
    if not condition:
        raise ValueError("arguments that no value has")


def _complex(real: Any, imag: Any) -> complex:
    _check(type(real) is float and type(imag) is float)
    return complex(real, imag)


def _range(start: Any, stop: Any, step: Any) -> range:
    _check(type(start) is int and type(stop) is int and type(step) is int)
    return range(start, stop, step)


def _bytearray(content: Any) -> bytearray:
    _check(type(content) is bytes)  # an int would allocate
    return bytearray(content)


def _date(state: Any) -> datetime.date:
    _check(type(state) is bytes)
    year, month, day = struct.unpack(">HBB", state)
    return datetime.date(year, month, day)


def _time(state: Any, *zone: Any) -> datetime.time:
    _check(type(state) is bytes)
    hour, minute, second, high, low = struct.unpack(">BBBBH", state)
    return datetime.time(hour & 0x7F, minute, second, high << 16 | low, tzinfo=_zone(*zone), fold=hour >> 7)


def _datetime(state: Any, *zone: Any) -> datetime.datetime:
    _check(type(state) is bytes)
    year, month, day, hour, minute, second, high, low = struct.unpack(">HBBBBBBH", state)
    return datetime.datetime(
        year,
        month & 0x7F,
        day,
        hour,
        minute,
        second,
        high << 16 | low,
        tzinfo=_zone(*zone),
        fold=month >> 7,
    )


def _zone(*zone: Any) -> datetime.timezone | None:
    if not zone:
        return None
    _check(type(zone[0]) is datetime.timezone and len(zone) == 1)
    found: datetime.timezone = zone[0]
    return found


def _timedelta(days: Any, seconds: Any, microseconds: Any) -> datetime.timedelta:
    _check(type(days) is int and type(seconds) is int and type(microseconds) is int)
    _check(0 <= seconds < 86400 and 0 <= microseconds < 1000000)
    return datetime.timedelta(days, seconds, microseconds)


def _timezone(offset: Any, *name: Any) -> datetime.timezone:
    _check(type(offset) is datetime.timedelta and (not name or type(name[0]) is str))
    return datetime.timezone(offset, *name)


def _decimal(text: Any) -> decimal.Decimal:
    _check(type(text) is str)
    value = decimal.Decimal(text, _DECIMALS)
    _check(_DECIMALS.to_sci_string(value) == text and abs(value.adjusted()) <= _MAX_EXPONENT)
    return value


def _decimal_arguments(value: decimal.Decimal) -> tuple[str]:
    if abs(value.adjusted()) > _MAX_EXPONENT:
        raise Refused(f"a Decimal with an exponent beyond {_MAX_EXPONENT} can't be read on every machine")
    return (_DECIMALS.to_sci_string(value),)


def _fraction(numerator: Any, denominator: Any) -> fractions.Fraction:
    _check(type(numerator) is int and type(denominator) is int and denominator > 0)
    _check(numerator.bit_length() + denominator.bit_length() <= _MAX_FRACTION)
    _check(math.gcd(numerator, denominator) == 1)
    value = object.__new__(fractions.Fraction)
    object.__setattr__(value, "_numerator", numerator)
    object.__setattr__(value, "_denominator", denominator)
    return value


def _fraction_arguments(value: fractions.Fraction) -> tuple[int, int]:
    numerator, denominator = int(value.numerator), int(value.denominator)
    if numerator.bit_length() + denominator.bit_length() > _MAX_FRACTION:
        raise Refused(
            f"a Fraction with more than {_MAX_FRACTION} bits takes too long to check: "
            "send its numerator and denominator"
        )
    return numerator, denominator


def _uuid(none: Any, content: Any) -> uuid.UUID:
    _check(none is None and type(content) is bytes)
    return uuid.UUID(bytes=content)


def _head(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode("ascii")


WRITERS: dict[type, tuple[bytes, Arguments]] = {
    complex: (_head("builtins", "complex"), lambda value: (value.real, value.imag)),
    range: (
        _head("builtins", "range"),
        lambda value: (int(value.start), int(value.stop), int(value.step)),
    ),
    bytearray: (_head("builtins", "bytearray"), lambda value: (bytes(value),)),
    datetime.date: (_head("datetime", "date"), lambda value: value.__reduce_ex__(4)[1]),
    datetime.time: (_head("datetime", "time"), lambda value: value.__reduce_ex__(4)[1]),
    datetime.datetime: (_head("datetime", "datetime"), lambda value: value.__reduce_ex__(4)[1]),
    datetime.timedelta: (
        _head("datetime", "timedelta"),
        lambda value: (value.days, value.seconds, value.microseconds),
    ),
    datetime.timezone: (_head("datetime", "timezone"), lambda value: value.__getinitargs__()),
    decimal.Decimal: (_head("decimal", "Decimal"), _decimal_arguments),
    fractions.Fraction: (_head("fractions", "Fraction"), _fraction_arguments),
    uuid.UUID: (_head("uuid", "UUID"), lambda value: (None, value.bytes)),
}
"""For each type the bytes before the arguments, and what returns them."""


def readers(numpy_value: Callable[[str, tuple[Any, ...]], Any]) -> dict[bytes, Reader]:
    """Return what makes a value of checked arguments, by ``module\\nname``.

    A reader raises ValueError, TypeError, ArithmeticError or struct.error for arguments that no value has.
    *numpy_value* makes a numpy value of the name of its type and arguments that have been checked.
    """

    def ndarray(shape: Any, dtype: Any, raw: Any) -> Any:
        _check_array(shape, dtype, raw)
        return numpy_value("ndarray", (shape, dtype, raw))

    def scalar(name: str) -> Reader:
        _, kind, layout = _SCALARS[name]

        def read(value: Any) -> Any:
            _check(type(value) is kind)
            if layout:
                _check_fits(value, layout)
            return numpy_value(name, (value,))

        return read

    def moment(name: str) -> Reader:
        def read(count: Any, unit: Any) -> Any:
            _check(type(count) is int and -(2**63) <= count < 2**63 and type(unit) is str)
            if name == "datetime64" or unit != "generic":
                match = _DTYPE.fullmatch(f"<M8[{unit}]")
                _check(match is not None)
            return numpy_value(name, (count, unit))

        return read

    found: dict[bytes, Reader] = {
        b"builtins\ncomplex": _complex,
        b"builtins\nrange": _range,
        b"builtins\nbytearray": _bytearray,
        b"datetime\ndate": _date,
        b"datetime\ntime": _time,
        b"datetime\ndatetime": _datetime,
        b"datetime\ntimedelta": _timedelta,
        b"datetime\ntimezone": _timezone,
        b"decimal\nDecimal": _decimal,
        b"fractions\nFraction": _fraction,
        b"uuid\nUUID": _uuid,
        b"numpy\nndarray": ndarray,
    }
    found.update({f"numpy\n{name}".encode("ascii"): scalar(name) for name in _SCALARS})
    found.update({f"numpy\n{name}".encode("ascii"): moment(name) for name in ("datetime64", "timedelta64")})
    return found


def _check_array(shape: Any, dtype: Any, raw: Any) -> None:
    _check(type(shape) is tuple and len(shape) <= _MAX_NDIM and type(dtype) is str and type(raw) is bytes)
    match = _DTYPE.fullmatch(dtype)
    _check(match is not None)
    assert match is not None
    item = _ITEM_SIZE.search(dtype)
    size = int(item.group()) * (4 if dtype.startswith("<U") else 1) if item else 0
    items = size
    for length in shape:
        _check(type(length) is int and 0 <= length < 2**63)
        size *= length
        items *= length or 1
    _check(size == len(raw) and items <= _MAX_ITEMS)
    if match.group("byte") == "b":
        _check(not raw.translate(None, b"\0\1"))
    elif dtype.startswith("<U"):
        # numpy crashes later on what is no code point
        _check(not raw or max(_numbers("I", raw)) <= sys.maxunicode)
    elif dtype in _FLOATS:
        _check(_has_one_nan(raw, *_FLOATS[dtype]))


def _numbers(code: str, raw: bytes) -> array.array[Any]:
    numbers = array.array(code, raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _has_one_nan(raw: bytes, code: str, bits: str, nan: int, infinity: int) -> bool:
    """Return whether each NaN in *raw* is the one that the encoder writes, whose bits are *nan*."""
    if code and not math.isnan(sum(_numbers(code, raw))):  # else there may be infinities of both signs only
        return True
    sign = ~(1 << (8 * array.array(bits).itemsize - 1))
    return all(number & sign <= infinity or number == nan for number in set(_numbers(bits, raw)))


def _check_fits(value: Any, layout: str) -> None:
    for part in (value.real, value.imag) if type(value) is complex else (value,):
        (back,) = struct.unpack(layout, struct.pack(layout, part))
        _check(back == part or math.isnan(part))


def numpy_value(name: str, arguments: tuple[Any, ...]) -> Any:
    """Return the array (writable, native byte order) or scalar; ValueError if numpy is not installed."""
    try:
        import numpy
    except ImportError as error:
        raise ValueError("it has numpy values, and numpy is not installed here") from error
    if name != "ndarray":
        return getattr(numpy, name)(*arguments)
    shape, dtype, raw = arguments
    found = numpy.ndarray(shape, dtype, raw)
    return found.astype(found.dtype.newbyteorder("="))


def numpy_writer(cls: type) -> tuple[bytes, Arguments] | None:
    """Return the bytes before the arguments and what returns them, None if not of numpy. Raises Refused."""
    numpy = sys.modules.get("numpy")
    if numpy is None or cls.__module__.partition(".")[0] != "numpy":
        return None
    if cls is getattr(numpy, "ndarray", None):
        return _head("numpy", "ndarray"), _array_arguments
    if issubclass(cls, getattr(numpy, "ndarray", ())):
        raise Refused(f"numpy's {cls.__name__} is more than an array: send numpy.array(…) of it")
    if not issubclass(cls, getattr(numpy, "generic", ())):
        return None
    dtype = numpy.dtype(cls).newbyteorder("<")
    if dtype.kind in "Mm":
        return _head("numpy", {"M": "datetime64", "m": "timedelta64"}[dtype.kind]), _moment_arguments
    if dtype.kind in "US":  # item() leaves zeros at the end out
        make = str.__str__ if dtype.kind == "U" else bytes
        return _head("numpy", "str_" if dtype.kind == "U" else "bytes_"), lambda value: (make(value),)
    for name, (wanted, _, _) in _SCALARS.items():
        if dtype.str == wanted:
            return _head("numpy", name), lambda value: (value.item(),)
    raise Refused(f"numpy.{cls.__name__} {_NO_FORM}")


def _moment_arguments(value: Any) -> tuple[int, str]:
    numpy = sys.modules["numpy"]
    unit, count = numpy.datetime_data(value.dtype)
    if unit == "generic" and value.dtype.kind == "M":
        raise Refused("a numpy.datetime64 without a unit is not data")
    return int(value.view("i8")), unit if count == 1 else f"{count}{unit}"


def _array_arguments(value: Any) -> tuple[tuple[int, ...], str, bytes]:
    numpy = sys.modules["numpy"]
    try:
        dtype = value.dtype.newbyteorder("<")
    except TypeError:
        raise Refused(f"a numpy array of dtype {value.dtype} {_NO_FORM}") from None
    if _DTYPE.fullmatch(dtype.str) is None:
        raise Refused(f"a numpy array of dtype {value.dtype} {_NO_FORM}")
    if value.ndim > _MAX_NDIM:
        raise Refused(
            f"a numpy array of {value.ndim} dimensions is not data: older numpys have {_MAX_NDIM} at most"
        )
    if math.prod(length or 1 for length in value.shape) * dtype.itemsize > _MAX_ITEMS:
        raise Refused(f"a numpy array of shape {value.shape} is too large for a file")
    flat = numpy.ascontiguousarray(value.astype(dtype, copy=False)).reshape(-1)
    if dtype.kind in "fc":
        flat = flat.view(f"<f{dtype.itemsize // (2 if dtype.kind == 'c' else 1)}")
        undefined = numpy.isnan(flat)
        if undefined.any():
            flat = flat.copy()
            flat[undefined] = math.nan
    elif dtype.kind == "b" and (flat.view("u1") > 1).any():
        raise Refused("a numpy array of bools has bytes that are neither 0 nor 1: send array.view('u1') != 0")
    elif dtype.kind == "U" and (flat.view("<u4") > sys.maxunicode).any():
        raise Refused("a numpy array of strings has numbers that are no characters")
    return value.shape, dtype.str, flat.tobytes()
