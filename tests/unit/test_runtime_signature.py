"""RSA signatures in whole numbers, against an independent implementation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from aioboinc.slave_runtime import signature

MESSAGE = b"a manifest"
PRIVATE = rsa.generate_private_key(65537, 2048)
NUMBERS = PRIVATE.private_numbers()
N = NUMBERS.public_numbers.n
KEY = signature.PublicKey(N, 65537)
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(MESSAGE).digest()


def sign(message: bytes) -> bytes:
    return PRIVATE.sign(message, padding.PKCS1v15(), hashes.SHA256())


def forge(block: bytes) -> bytes:
    """Return what verifies to *block*, whatever it is."""
    return pow(int.from_bytes(block, "big"), NUMBERS.d, N).to_bytes(256, "big")


def test_a_signature_is_accepted() -> None:
    assert signature.verify(MESSAGE, sign(MESSAGE), KEY)
    assert signature.verify(MESSAGE, forge(b"\0\1" + b"\xff" * 202 + b"\0" + DIGEST_INFO), KEY)


def test_a_signature_of_something_else_is_not() -> None:
    assert not signature.verify(b"another manifest", sign(MESSAGE), KEY)


def test_a_signature_with_another_key_is_not() -> None:
    other = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    assert not signature.verify(MESSAGE, sign(MESSAGE), signature.PublicKey(other.n, other.e))


@pytest.mark.parametrize("bit", range(0, 2048, 97))
def test_a_signature_with_a_wrong_bit_is_not(bit: int) -> None:
    wrong = int.from_bytes(sign(MESSAGE), "big") ^ (1 << bit)
    assert not signature.verify(MESSAGE, wrong.to_bytes(256, "big"), KEY)


@pytest.mark.parametrize("change", [lambda s: b"", lambda s: s[1:], lambda s: s + b"\0", lambda s: b"\0" + s])
def test_a_signature_of_another_length_is_not(change) -> None:  # type: ignore[no-untyped-def]
    assert not signature.verify(MESSAGE, change(sign(MESSAGE)), KEY)


def test_a_signature_that_is_one_modulus_higher_is_not() -> None:
    higher = int.from_bytes(forge(b"\0\1" + b"\xff" * 202 + b"\0" + DIGEST_INFO), "big") + N
    if higher < 1 << 2048:
        assert not signature.verify(MESSAGE, higher.to_bytes(256, "big"), KEY)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\0\1" + b"\xff" * 8 + b"\0" + DIGEST_INFO + b"x" * 194, id="garbage behind the digest"),
        pytest.param(b"\0\1" + b"\xff" * 201 + b"\0\0" + DIGEST_INFO, id="two separators"),
        pytest.param(b"\0\2" + b"\xff" * 202 + b"\0" + DIGEST_INFO, id="padding for encryption"),
        pytest.param(b"\0\1" + b"\xfe" * 202 + b"\0" + DIGEST_INFO, id="other padding"),
        pytest.param(b"\0\1" + b"\xff" * 221 + b"\0" + hashlib.sha256(MESSAGE).digest(), id="no digest info"),
        pytest.param(
            b"\0\1" + b"\xff" * 204 + b"\0" + bytes.fromhex("302f300b0609608648016503040201") + DIGEST_INFO[17:],
            id="without the parameters",
        ),
        pytest.param(
            b"\0\1" + b"\xff" * 218 + b"\0" + bytes.fromhex("3021300906052b0e03021a05000414")
            + hashlib.sha1(MESSAGE).digest(),
            id="SHA-1",
        ),
        pytest.param(bytes(256), id="nothing"),
    ],
)  # fmt: skip
def test_a_block_that_is_not_exactly_right_is_refused(block: bytes) -> None:
    assert not signature.verify(MESSAGE, forge(block[:256].rjust(256, b"\0")), KEY)


def test_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps({"n": f"{N:x}", "e": 65537}))
    assert signature.load(str(path)) == KEY
    path.write_text(json.dumps({"n": f"{N:x}", "e": 65537, "project": "http://example.org/"}))
    assert signature.load(str(path)).project == "http://example.org/"


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        {},
        {"n": N, "e": 65537},
        {"n": "xyz", "e": 65537},
        {"n": f"{N:x}"},
        {"n": f"{N:x}", "e": 1},
        {"n": f"{N:x}", "e": 3},
        {"n": f"{N:x}", "e": 65538},
        {"n": f"{N:x}", "e": "65537"},
        {"n": f"{N:x}", "e": True},
        {"n": f"{N >> 1024 | 1:x}", "e": 65537},
        {"n": f"{N + 1:x}", "e": 65537},
        {"n": "f" * 9000, "e": 65537},
        {"n": f"{N:x}", "e": 65537, "project": 7},
    ],
)
def test_what_is_no_key(fields: object) -> None:
    with pytest.raises(signature.BadKey, match="not a public key"):
        signature.parse(json.dumps(fields).encode())


@pytest.mark.parametrize("data", [b"", b"\xff", b"{", b"[" * 100000])
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(signature.BadKey):
        signature.parse(data)
