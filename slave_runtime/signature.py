"""RSA signatures, PKCS#1 version 1.5 with SHA-256, checked with whole numbers (RFC 8017, section 8.2.2)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Optional

__all__ = ["BadKey", "PublicKey", "load", "parse", "verify"]

# DER of DigestInfo up to the digest, for SHA-256 (RFC 8017, section 9.2, note 1).
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
_BITS = range(2048, 8193)


class BadKey(ValueError):
    """A public key file that is none."""


@dataclasses.dataclass(frozen=True)
class PublicKey:
    """The key that a project's programs are signed with."""

    n: int
    """Modulus."""
    e: int
    """Exponent."""
    project: Optional[str] = None
    """Master URL of the project that the key belongs to; None: the key file does not say."""


def load(path: str) -> PublicKey:
    """Read a public key file. Raises OSError, BadKey."""
    with open(path, "rb") as file:
        return parse(file.read(65536))


def parse(data: bytes) -> PublicKey:
    """Return the key in *data*: JSON, ``{"n": hex, "e": 65537, "project": URL}``, the last one optional."""
    try:
        fields = json.loads(data.decode("utf-8"))
        n, e, project = int(fields["n"], 16), fields["e"], fields.get("project")
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise BadKey(f"not a public key: {error}") from error
    if n.bit_length() not in _BITS or n % 2 == 0:
        raise BadKey("not a public key: the modulus needs 2048 to 8192 bits")
    if type(e) is not int or not 65537 <= e < 2**32 or e % 2 == 0:
        raise BadKey("not a public key: the exponent must be 65537 or an odd number above it")
    if project is not None and not isinstance(project, str):
        raise BadKey("not a public key: the project is not a URL")
    return PublicKey(n, e, project)


def verify(message: bytes, signature: bytes, key: PublicKey) -> bool:
    """Say whether *signature* is that of *message* with *key*."""
    size = (key.n.bit_length() + 7) // 8
    if len(signature) != size:
        return False
    number = int.from_bytes(signature, "big")
    if number >= key.n:
        return False
    digest_info = _DIGEST_INFO + hashlib.sha256(message).digest()
    padding = b"\xff" * (size - len(digest_info) - 3)
    # The whole block is compared, not parsed: nothing is left to a lenient reader.
    expected = b"\x00\x01" + padding + b"\x00" + digest_info
    return pow(number, key.e, key.n).to_bytes(size, "big") == expected
