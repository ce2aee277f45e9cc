"""Publishing into the batch directory of another user, who has to read what is published."""

import os

import pytest

from aioboinc.batch import directory as batch_directory
from aioboinc.passes import publishing

NOBODY = 65534


@pytest.fixture
def directory(tmp_path):
    directory = batch_directory.BatchDirectory(tmp_path / "batch")
    directory.path.mkdir()
    directory.create()
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(directory.new, NOBODY, NOBODY)
    return directory


@pytest.mark.parametrize(
    ("mode", "gid", "linked"),
    [(0o600, 0, False), (0o640, 0, False), (0o644, 0, True), (0o640, NOBODY, True), (0o604, NOBODY, False)],
)
def test_outputs(directory, tmp_path, mode, gid, linked):
    source = tmp_path / "output"
    source.write_bytes(b"output")
    os.chown(source, 0, gid)
    source.chmod(mode)
    item = publishing.Item(1, str(directory.path), "job", source=str(source))
    for _ in range(2):
        assert publishing.publish([item]).published == {1}
    (published,) = directory.new.iterdir()
    assert published.read_bytes() == b"output"
    assert published.samefile(source) == linked
    assert linked or published.stat().st_mode & 0o777 == 0o644


def test_reports(directory):
    before = os.umask(0o077)
    try:
        item = publishing.Item(1, str(directory.path), "job.error", content=b"report")
        assert publishing.publish([item]).published == {1}
    finally:
        os.umask(before)
    (published,) = directory.new.iterdir()
    assert (published.read_bytes(), published.stat().st_mode & 0o777) == (b"report", 0o644)


def test_no_directory(tmp_path):
    item = publishing.Item(1, str(tmp_path / "none"), "job", content=b"")
    outcome = publishing.publish([item])
    assert not outcome.published
    assert isinstance(outcome.errors[item.directory], FileNotFoundError)
