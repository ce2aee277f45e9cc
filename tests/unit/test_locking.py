"""Locks of files and directories."""

import os
from pathlib import Path

import pytest

from aioboinc.aio import locking


class Refused(Exception):
    """Somebody else has the lock."""


def test_a_file_is_made_and_locked_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locking.held(path, Refused(), mode=0o600) as descriptor:
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(Refused), locking.held(path, Refused()):
            pass
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)
    with locking.held(path, Refused()):
        pass


def test_a_directory_is_locked_by_its_path_or_by_a_descriptor(tmp_path: Path) -> None:
    with (
        locking.held(tmp_path, Refused()),
        pytest.raises(Refused),
        locking.held(os.open(tmp_path, os.O_RDONLY), Refused()),
    ):
        pass
    with pytest.raises(FileNotFoundError), locking.held(tmp_path / "none" / "lock", Refused()):
        pass
