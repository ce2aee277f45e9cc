"""Who may do what, by owners, groups and modes."""

import os
import pwd

import pytest

from aioboinc.project import access

ALICE = access.User(1001, "alice", frozenset({1001, 50}))
READ, WRITE, SEARCH = access.READ, access.WRITE, access.SEARCH


def status(mode, uid=0, gid=0):
    return os.stat_result((mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "allowed"),
    [
        (0o700, 1001, 0, True),
        (0o077, 1001, 50, False),  # the owner's bits count, and no others
        (0o070, 0, 50, True),
        (0o707, 0, 50, False),  # likewise the group's
        (0o007, 0, 0, True),
        (0o770, 0, 0, False),
        (0o200, 1001, 0, False),
    ],
)
def test_modes(mode, uid, gid, allowed):
    assert ALICE.may(WRITE | SEARCH, status(mode, uid, gid)) == allowed
    assert access.User(0, "root", frozenset()).may(WRITE | SEARCH, status(mode, uid, gid))


def test_users_of_the_system():
    entry = pwd.getpwuid(os.geteuid())
    user = access.User.of(entry.pw_uid)
    assert (user.uid, user.name) == (entry.pw_uid, entry.pw_name)
    assert entry.pw_gid in user.groups
    assert access.User.of(4_000_000_000) is None


@pytest.fixture
def stranger():
    """A user who is nobody's owner and in nobody's group."""
    return access.User(4_000_000_000, "stranger", frozenset())


@pytest.fixture
def place(tmp_path, stranger):
    """A directory on a way that is open to everybody."""
    place = tmp_path / "way" / "place"
    place.mkdir(parents=True)
    for path in (tmp_path / "way", place):
        path.chmod(0o755)
    private = [path for path in tmp_path.parents if not stranger.may(SEARCH, path.stat())]
    return place, [*private, *([tmp_path] if not stranger.may(SEARCH, tmp_path.stat()) else [])]


def test_obstacles(place, stranger, tmp_path, monkeypatch):
    """The first one from the root on; pytest's own directories are private, and taken for open here."""
    place, private = place
    may = access.User.may
    ours = {path.stat().st_ino for path in private}
    monkeypatch.setattr(
        access.User,
        "may",
        lambda user, permissions, status: status.st_ino in ours or may(user, permissions, status),
    )
    assert access.obstacle(stranger, place) == place
    place.chmod(0o777)
    assert access.obstacle(stranger, place) is None
    (tmp_path / "link").symlink_to(place)
    place.parent.chmod(0o711)
    assert access.obstacle(stranger, tmp_path / "link") is None
    place.parent.chmod(0o710)
    assert access.obstacle(stranger, tmp_path / "link") == place.parent
    assert access.obstacle(stranger, place / "none") == place.parent


def test_what_cannot_be_known_is_permitted(place, stranger, monkeypatch):
    place, _ = place
    assert access.obstacle(stranger, place) is not None
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"], raising=False)
    assert access.obstacle(stranger, place) is None
    monkeypatch.undo()
    root = access.User(0, "root", frozenset())
    assert access.obstacle(root, place / "none") is None  # there is no such place: nothing to say of it
