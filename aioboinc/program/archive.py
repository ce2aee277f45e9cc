"""Zip archives that are the same bytes wherever and whenever they are built."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable

__all__ = ["build"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can hold."""
_UNIX = 3
_MODE = 0o100644


def build(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """Return an archive of *entries*, names and contents, in their order.

    Nothing is compressed: the output of zlib differs between its versions.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = _UNIX
            entry.external_attr = _MODE << 16
            archive.writestr(entry, content)
    return buffer.getvalue()
