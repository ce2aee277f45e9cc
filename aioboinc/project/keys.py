"""Keys and signatures: of programs (ours), and of application files (BOINC's code signing).

Programs are signed with RSA-2048, PKCS#1 v1.5 and SHA-256; hosts check that in pure Python.

BOINC's code signing is RSA-1024 over the MD5 of a file: its clients know nothing else, and its ``crypt_prog`` makes no
other keys. We need it for our own projects that stock clients attach to. Keys and signatures have the text form of
BOINC's ``lib/crypt.cpp``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from aioboinc import errors
from aioboinc.aio import durable

__all__ = [
    "PROGRAM_PRIVATE",
    "PROGRAM_PUBLIC",
    "CodeSignPrivateKey",
    "CodeSignPublicKey",
    "PrivateKey",
    "create",
    "create_code_sign_keys",
    "load",
    "load_code_sign_private",
    "load_code_sign_public",
    "sign_file_md5",
    "verify_file_md5",
]

PROGRAM_PRIVATE = "pyboinc_private.pem"
"""Name of the private program key's file in a project's key directory."""
PROGRAM_PUBLIC = "pyboinc_public.json"
"""Name of the public program key's file there."""

_EXPONENT = 65537
_BITS = 2048
_CODE_SIGN_BITS = 1024


class PrivateKey:
    """The key that a project's programs are signed with."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    def sign(self, data: bytes) -> bytes:
        """Return the signature of *data*, which is the same each time."""
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    @property
    def public_json(self) -> bytes:
        """The public key as hosts read it: ``{"e":65537,"n":"<hexadecimal>"}`` and a newline."""
        numbers = self._key.public_key().public_numbers()
        text = json.dumps({"n": f"{numbers.n:x}", "e": numbers.e}, sort_keys=True, separators=(",", ":"))
        return text.encode("ascii") + b"\n"


def create(private_path: Path, public_path: Path) -> PrivateKey:
    """Make the project's program key, unless it is there, and return it.

    The private key becomes a PEM file that only its owner can read, the public key a JSON file. An existing private key
    is kept; its public file is written again if it is missing or does not fit. Blocks for a good part of a second.
    Raises `errors.ProjectError`, and MemoryError.
    """
    if os.path.exists(private_path):
        key = load(private_path)
    else:
        try:
            key = PrivateKey(rsa.generate_private_key(_EXPONENT, _BITS))
        except InternalError as error:  # with fixed arguments, only lack of memory can fail
            raise MemoryError("no memory for a key") from error
        pem = key._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(private_path, pem, 0o600)
    if not os.path.exists(public_path) or _read(public_path) != key.public_json:
        _write(public_path, key.public_json, 0o644)
    return key


def load(path: Path) -> PrivateKey:
    """Read the private program key from the PEM file *path*. Raises `errors.ProjectError`."""
    try:
        # Unchecked, which is a thousand times faster: signatures made with a damaged key fit nothing anyway.
        key = serialization.load_pem_private_key(_read(path), None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise errors.ProjectError(f"{path}: not a private key in PEM form without a password") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < _BITS:
        raise errors.ProjectError(f"{path}: not an RSA key of at least {_BITS} bits")
    return PrivateKey(key)


@dataclass(frozen=True)
class CodeSignPublicKey:
    """The public half of a key of BOINC's."""

    modulus: int
    exponent: int


@dataclass(frozen=True)
class CodeSignPrivateKey:
    """The private half of a key of BOINC's: what signing needs."""

    modulus: int
    exponent: int = field(repr=False)


# What follows the number of bits in a key file: numbers of this many bytes each, in hexadecimal.
_PUBLIC_LAYOUT = (128, 128)
"""modulus, exponent"""
_PRIVATE_LAYOUT = (128, 128, 128, 64, 64, 64, 64, 64)
"""modulus, public exponent, exponent, the two primes, the exponent modulo each less 1, the coefficient"""


def create_code_sign_keys(directory: Path) -> None:
    """Make the two pairs of keys that a BOINC project has in its key directory, unless they are there.

    ``code_sign_private`` and ``code_sign_public`` are for application files, ``upload_private`` and
    ``upload_public`` for upload certificates. Blocks. Raises `errors.ProjectError`.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.ProjectError(errors.describe(directory, error)) from None
    for name in ("code_sign", "upload"):
        private_path, public_path = directory / f"{name}_private", directory / f"{name}_public"
        if not os.path.exists(private_path):
            key = rsa.generate_private_key(_EXPONENT, _CODE_SIGN_BITS).private_numbers()
            public = key.public_numbers
            numbers = [public.n, public.e, key.d, key.p, key.q, key.dmp1, key.dmq1, key.iqmp]
            _write(private_path, _key_text(numbers, _PRIVATE_LAYOUT), 0o600)
        modulus, exponent, *_ = _key_numbers(private_path, _PRIVATE_LAYOUT)
        public_text = _key_text([modulus, exponent], _PUBLIC_LAYOUT)
        if not os.path.exists(public_path) or _read(public_path) != public_text:
            _write(public_path, public_text, 0o644)


def load_code_sign_private(path: Path) -> CodeSignPrivateKey:
    """Read a private key file of BOINC's. Raises `errors.ProjectError`."""
    modulus, _, exponent, *_ = _key_numbers(path, _PRIVATE_LAYOUT)
    return CodeSignPrivateKey(modulus, exponent)


def load_code_sign_public(path: Path) -> CodeSignPublicKey:
    """Read a public key file of BOINC's. Raises `errors.ProjectError`."""
    modulus, exponent = _key_numbers(path, _PUBLIC_LAYOUT)
    return CodeSignPublicKey(modulus, exponent)


def sign_file_md5(file: Path | str, key: CodeSignPrivateKey) -> str:
    """Return the text of a file's ``<file_signature>``; it ends with a newline.

    *file* is a path, or the file's MD5 as a text of 32 hexadecimal digits. Blocks for a path. Raises
    `errors.ProjectError` for a file that can't be read, ValueError for a text that is not an MD5.
    """
    padded = _padded(_md5(file), key.modulus)
    signature = pow(int.from_bytes(padded, "big"), key.exponent, key.modulus)
    return _hex_text(signature.to_bytes(len(padded), "big"))


def verify_file_md5(file: Path | str, signature: str, key: CodeSignPublicKey) -> bool:
    """Tell whether *signature* was made by `sign_file_md5` for the file, with the private half of *key*."""
    data = _bytes_of(signature)
    padded = _padded(_md5(file), key.modulus)
    if data is None or len(data) != len(padded) or int.from_bytes(data, "big") >= key.modulus:
        return False
    opened = pow(int.from_bytes(data, "big"), key.exponent, key.modulus)
    return hmac.compare_digest(opened.to_bytes(len(padded), "big"), padded)


def _md5(file: Path | str) -> str:
    """Return the MD5 of a file, as hexadecimal digits, or check the one given."""
    if isinstance(file, str):
        if not re.fullmatch("[0-9a-f]{32}", file):
            raise ValueError(f"not an MD5 in lower-case hexadecimal: {file!r}")
        return file
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise errors.ProjectError(errors.describe(file, error)) from None


def _padded(md5: str, modulus: int) -> bytes:
    """Return PKCS#1 v1.5 padding, type 1, around the digits of *md5* themselves, without a DigestInfo."""
    size = (modulus.bit_length() + 7) // 8
    content = md5.encode("ascii")
    return b"\0\1" + b"\xff" * (size - len(content) - 3) + b"\0" + content


def _hex_text(data: bytes) -> str:
    """Write *data* in lines of 32 bytes, and a dot."""
    digits = data.hex()
    return "".join(f"{digits[start : start + 64]}\n" for start in range(0, len(digits), 64)) + ".\n"


def _bytes_of(text: str) -> bytes | None:
    """Read what `_hex_text` wrote; None if it is something else."""
    digits, dot, _ = text.partition(".")
    digits = "".join(digits.split())
    if not dot or not re.fullmatch("([0-9a-fA-F]{2})+", digits):
        return None
    return bytes.fromhex(digits)


def _key_text(numbers: list[int], layout: tuple[int, ...]) -> bytes:
    parts = [number.to_bytes(size, "big") for number, size in zip(numbers, layout, strict=True)]
    return f"{_CODE_SIGN_BITS}\n{_hex_text(b''.join(parts))}".encode("ascii")


def _key_numbers(path: Path, layout: tuple[int, ...]) -> list[int]:
    bits, _, text = _read(path).decode("latin-1").partition("\n")
    data = _bytes_of(text)
    if bits != str(_CODE_SIGN_BITS) or data is None or len(data) != sum(layout):
        raise errors.ProjectError(f"{path}: not a key of {_CODE_SIGN_BITS} bits in BOINC's form")
    numbers = []
    for size in layout:
        numbers.append(int.from_bytes(data[:size], "big"))
        data = data[size:]
    if numbers[0].bit_length() != _CODE_SIGN_BITS:
        raise errors.ProjectError(f"{path}: not a key of {_CODE_SIGN_BITS} bits in BOINC's form")
    return numbers


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise errors.ProjectError(f"{path}: there is no such key: set the project up first") from None
    except OSError as error:
        raise errors.ProjectError(errors.describe(path, error)) from None


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        durable.place(path, data, mode)
    except OSError as error:
        raise errors.ProjectError(errors.describe(path, error)) from None
