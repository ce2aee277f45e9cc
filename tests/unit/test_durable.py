"""Files that are there whole or not at all."""

import os

import pytest

from aioboinc.aio import durable


def test_place(tmp_path):
    path = tmp_path / "file"
    durable.place(path, b"one", 0o755)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o755)
    before = path.stat()
    durable.place(path, b"one", 0o644)
    assert path.stat() == before
    durable.place(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o644)
    assert not durable.is_placed(path, b"two", 0o755)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_private_is_never_seen_by_others(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.with_name(".file.new").write_bytes(b"left by a process that was killed")
    path.with_name(".file.new").chmod(0o666)
    modes = []
    monkeypatch.setattr(
        os, "fchmod", lambda descriptor, mode: modes.append((os.fstat(descriptor).st_mode & 0o777, mode))
    )
    durable.place(path, b"secret", 0o600)
    assert modes == [(0o600, 0o600)]
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        durable.place(tmp_path / "none" / "file", b"")


def test_a_file_is_replaced_by_way_of_a_name_of_ours(tmp_path):
    path, temporary = tmp_path / "file", tmp_path / "other.tmp"
    temporary.write_bytes(b"left by a process that was killed")
    before = os.umask(0o027)
    try:
        durable.write(path, b"one", temporary=temporary)
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o640)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_in_the_way_stays(tmp_path):
    """A link with our temporary name is not ours: neither it nor what it leads to is touched."""
    path, temporary, thesis = tmp_path / "file", tmp_path / ".file.new", tmp_path / "thesis"
    thesis.write_bytes(b"thesis")
    temporary.symlink_to(thesis)
    with pytest.raises(FileExistsError):
        durable.write(path, b"one")
    assert (temporary.is_symlink(), thesis.read_bytes(), path.exists()) == (True, b"thesis", False)
