import io
import os
import time
import zipfile

from aioboinc.program import archive

ENTRIES = [("b.txt", b"second" * 100), ("a/ü.txt", b""), ("c", b"\x00\xff")]


def test_zipfile_reads_it():
    with zipfile.ZipFile(io.BytesIO(archive.build(ENTRIES))) as read:
        assert read.testzip() is None
        assert [(name, read.read(name)) for name in read.namelist()] == ENTRIES
        assert {entry.compress_type for entry in read.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.external_attr >> 16 for entry in read.infolist()} == {0o100644}


def test_bytes_depend_on_the_entries_alone(monkeypatch):
    first = archive.build(ENTRIES)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setattr("sys.platform", "win32")
    umask = os.umask(0o077)
    try:
        assert archive.build(iter(ENTRIES)) == first
    finally:
        os.umask(umask)


def test_bytes_are_these():
    # Other bytes would give every program that is built again another name.
    assert archive.build([("a", b"1")]) == bytes.fromhex(
        "504b0304140000000000000021 00b7efdc83 01000000 01000000 0100 0000 61 31"
        "504b010214031400 00000000 00002100 b7efdc83 01000000 01000000 0100"
        "0000 0000 0000 0000 0000a481 00000000 61"
        "504b0506 0000 0000 0100 0100 2f000000 20000000 0000"
    )
