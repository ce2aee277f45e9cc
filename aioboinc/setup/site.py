"""What setup and undo share: the project's files and tools, and the report of each step."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from aioboinc import errors, store
from aioboinc.aio import durable, locking
from aioboinc.project import config
from aioboinc.setup import config_file

__all__ = ["Site", "alone", "become_owner", "clear_errors"]

_BACKUP = ".before_pyboinc"


class Site:
    """A project, and a report of each step to its administrator. A dry run changes nothing."""

    def __init__(
        self,
        project: config.Project,
        data: store.Store,
        *,
        dry_run: bool,
        say: Callable[[str], None],
    ) -> None:
        self.project = project
        self.root = project.root
        self.store = data
        self.applications = data.applications
        self.say = say
        self.changes = 0
        """Number of steps that have, or would have, something to do."""
        self.dry_run = dry_run

    def step(self, subject: str, change: str | None) -> bool:
        """Report the *change* of *subject*, such as "added"; return whether to do it.

        None means that nothing need change.
        """
        if change is None:
            self.say(f"{subject}: in place")
            return False
        self.changes += 1
        self.say(f"{subject}: {'would be ' if self.dry_run else ''}{change}")
        return not self.dry_run

    def shown(self, path: Path) -> str:
        """Return *path* as text for people, relative to the project's root if possible."""
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    def check_writable(self, *directories: Path) -> None:
        """Raise `errors.ProjectError` unless this user may make *directories*, and files in them."""
        for directory in directories:
            existing = directory
            while not existing.exists():
                existing = existing.parent
            if not os.access(existing, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                user = _user_name(os.geteuid())
                raise errors.ProjectError(
                    f"{existing}: {user} has no write access; give the directory to the project's owner"
                )

    def document(self, name: str) -> bytes | None:
        """Return config.xml or project.xml, None if there is none.

        Raises `errors.ProjectError` if it is not well-formed.
        """
        path = self.root / name
        try:
            document = path.read_bytes()
            config_file.find(document, "boinc")
        except FileNotFoundError:
            return None
        except config_file.Malformed as error:
            raise errors.ProjectError(f"{path}: {error}") from None
        return document

    def edit(self, name: str, document: bytes, *, pristine: bool = False) -> None:
        """Replace config.xml or project.xml; the file as it was before our first change is kept beside it.

        *pristine* says that this is the first change, so that an older kept file is out of date.
        """
        path = Path(os.path.realpath(self.root / name))
        mode = stat.S_IMODE(path.stat().st_mode)
        backup = self.backup(name)
        if pristine or not backup.exists():
            durable.place(backup, path.read_bytes(), mode)
        durable.place(path, document, mode)

    def backup(self, name: str) -> Path:
        """Return where `edit` keeps the file *name*."""
        return self.root / (name + _BACKUP)

    def tool(self, name: str) -> Path | None:
        """Return the project's own program *name*, None if it has none that can be run."""
        path = self.root / "bin" / name
        return path if path.is_file() and os.access(path, os.X_OK) else None

    async def run(self, tool: Path, *arguments: str) -> str:
        """Run a program of the project's in its root; return its last line, as its exit status says nothing."""
        process = await asyncio.create_subprocess_exec(
            tool,
            *arguments,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        lines = output.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")

    def reread(self) -> None:
        """Tell the feeder, if it runs, to read the applications and their versions again."""
        (self.root / "reread_db").touch()


def become_owner(root: Path, say: Callable[[str], None]) -> None:
    """Continue as the project's owner, whose files and daemons these are.

    Only the superuser can; raises `errors.ProjectError` for others, and if *root* is no directory.
    """
    try:
        owner = root.stat()
    except OSError as error:
        raise errors.ProjectError(errors.describe(root, error)) from None
    if owner.st_uid == os.geteuid():
        return
    name = _user_name(owner.st_uid)
    if os.geteuid() != 0:
        raise errors.ProjectError(
            f"{root} belongs to {name}; run this as that user: "
            f"sudo -u {name} {sys.executable} -m aioboinc setup {root}"
        )
    say(f"continuing as {name}, the project's owner")
    with contextlib.suppress(KeyError):
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
    if not os.access(sys.executable, os.X_OK):
        raise errors.ProjectError(
            f"{sys.executable}: {name} can't run it, and so can't the project's daemons; install aioboinc where "
            f"{name} can read it, in a virtual environment for example, and run setup from there"
        )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep others from setting up the project in *root* meanwhile. Raises `errors.ProjectError` if one already does."""
    with locking.held(root, errors.ProjectError(f"{root}: another setup is running; wait for its end")):
        yield


@contextlib.contextmanager
def clear_errors(root: Path) -> Iterator[None]:
    """Turn operating system errors into one line that says what to do."""
    try:
        yield
    except OSError as error:
        path = error.filename or root
        raise errors.ProjectError(
            f"{errors.describe(path, error)}; put that right and run the same command again to complete it"
        ) from None
