"""Output files in the upload hierarchy: are they still what the host has sent?

A host reports size and MD5 of each output with the result (``xml_doc_out``). The functions that read files block.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass

from aioboinc.wire import codec, documents, envelope

__all__ = ["Reported", "flaw", "reported"]

_MD5 = re.compile(r"[0-9a-f]{32}")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Reported:
    """What a host has said of an output file."""

    nbytes: int
    md5: str
    """In hexadecimal."""

    def flaw(self, nbytes: int, md5: str) -> str:
        """Return how a file of this size and MD5 differs; empty if it is the one."""
        if nbytes != self.nbytes:
            return f"has {nbytes} of {self.nbytes} bytes"
        return "" if md5 == self.md5 else f"has MD5 {md5} in place of {self.md5}"


def reported(xml_doc_out: bytes | None, name: str) -> Reported | None:
    """Return what the host has said of the file *name*; None if it has not."""
    for file in documents.files((xml_doc_out or b"").decode("utf-8", "replace")):
        if file.name == name and _MD5.fullmatch(file.md5):
            return Reported(file.nbytes, file.md5)
    return None


def flaw(path: str, expected: Reported | None) -> str:
    """Return what is wrong with the output file *path*, which was valid once; empty if nothing is.

    Without something *expected* it must be an envelope, from end to end. Raises OSError if it can't be read now.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return "is not there any more"
    try:
        status = os.fstat(descriptor)
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            return "is no file"
        if expected is not None:
            # Of a file that has another size the content does not matter.
            md5 = _md5(descriptor) if size == expected.nbytes else ""
            return expected.flaw(size, md5)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            envelope.check_content(file.read())
    except codec.Malformed as error:
        return f"is malformed: {error}"
    finally:
        os.close(descriptor)
    return ""


def _md5(descriptor: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while block := os.read(descriptor, _BLOCK):
        digest.update(block)
    return digest.hexdigest()
