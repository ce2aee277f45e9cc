"""Removes everything that setup has made from a BOINC project: ``python -m aioboinc setup --undo``.

What is already gone is skipped, so running it again completes an interrupted run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from aioboinc import errors, store
from aioboinc.aio import files
from aioboinc.app_versions import versions
from aioboinc.passes import cancellation
from aioboinc.project import config, keys
from aioboinc.setup import config_file, steps
from aioboinc.setup import daemons as daemons_module
from aioboinc.setup import site as sites
from aioboinc.store import applications

__all__ = ["undo"]

_APP = config.APP_NAME
_JOB_FILE = re.compile(r"pyboinc_(program|\d+_\d+(_\d+)?)_[0-9a-f]{64}(\.zip)?(\.md5)?")
_SHOWN = 5


async def undo(
    root: Path, *, force: bool = False, dry_run: bool = False, say: Callable[[str], None] = print
) -> None:
    """Remove what `steps.setup` has added to the project in *root*, and report each step to *say*.

    Refuses while our daemons run, and while batches are unfinished, unless *force* aborts them. As long as the database
    has (finished) jobs of ours, the output template stays: BOINC's transitioner would stop without it. The application
    stays too, out of use. If hosts have got versions of it, it stays for good: their numbers must not be reused for
    other files. A *dry_run* changes nothing. Raises `errors.UsageError`.
    """
    read = config.read(root)
    if read.kind is not config.Kind.BOINC:
        raise errors.ProjectError(f"{root} is a project of aioboinc's own: to undo it, delete the directory")
    sites.become_owner(root, say)
    data = store.open(read)
    site = sites.Site(read, data, dry_run=dry_run, say=say)
    with sites.clear_errors(root), sites.alone(root):
        work = _Undo(site, force=force)
        async with data:
            await work.run()


class _Undo:
    def __init__(self, site: sites.Site, *, force: bool) -> None:
        """Check the project's files; raise `errors.ProjectError` if they can't be changed now."""
        self._site = site
        self._store = site.applications
        self._force = force
        self._root = site.root
        self._download_dir = site.project.download_dir
        self._key_dir = site.project.key_dir
        folders = (site.root / name for name in ("bin", "templates", "apps"))
        site.check_writable(site.root, *folders, self._download_dir, self._key_dir)
        self._config = site.document("config.xml") or b""
        self._project = site.document("project.xml") or b"<boinc/>"
        running = " and ".join(daemons_module.running(site.root))
        if running:
            raise errors.ProjectError(f"{site.root}: stop the project first, with bin/stop: {running} running")

    async def run(self) -> None:
        app = await self._store.find(_APP)
        unfinished = await self._store.unfinished_batches(app.id) if app else []
        if unfinished and not self._force:
            raise errors.ProjectError(_refusal(self._root, unfinished))
        daemons = [daemon.element for daemon in daemons_module.find(self._config)]
        self._take_out("config.xml", self._config, daemons)
        for batch in unfinished:
            if self._site.step(f"batch {batch.id} of {batch.directory}", "aborted"):
                await cancellation.abandon(
                    self._site.store, batch.token, delete_delay=self._site.project.delete_delay
                )
        jobs = await self._store.jobs(app.id) if app else 0
        hosts = await self._store.hosts(app.id) if app else 0
        if app and (jobs or hosts):
            await self._retire(app)
        else:
            await self._remove(app)
        if not jobs:
            self._remove_job_files()
        self._remove_programs()
        removed = [
            self._site.step(f"table {name}", "removed") for name in sorted(await self._site.store.schema.ours())
        ]
        if any(removed):
            await self._site.store.schema.drop_ours()
        for name in (keys.PROGRAM_PUBLIC, keys.PROGRAM_PRIVATE):
            self._delete(self._key_dir / name)
        self._conclude(jobs, hosts)

    def _remove_programs(self) -> None:
        """Remove the launchers of our daemons, what the daemons left behind, and the files of app versions."""
        for name in daemons_module.LAUNCHERS:
            self._delete(self._root / "bin" / name)
            # bin/stop signals the processes that these name, whatever they are by then.
            for path in sorted(self._root.glob(f"pid_*/{name}*")):
                self._delete(path)
        self._delete_versions(self._root / "apps" / _APP)
        for path in sorted(self._download_dir.iterdir()):
            if versions.is_ours(path.name):
                self._delete(path)

    async def _remove(self, app: applications.Application | None) -> None:
        """Remove the application, and the platforms that only it used."""
        if app and self._site.step(f"app {_APP} with its versions", "removed"):
            await self._store.remove(app.id)
            self._site.reread()
        elements = steps.own_elements(self._project)
        for name in (element.children["name"] for element in elements):
            if name != _APP and self._site.step(f"platform {name}", "removed"):
                await self._store.remove_platform(name)
        self._take_out("project.xml", self._project, elements)

    def _remove_job_files(self) -> None:
        """Remove what only jobs need, as there are none."""
        self._delete(self._root / config.OUTPUT_TEMPLATE)
        paths = [path for path in self._download_dir.rglob("pyboinc_*") if _JOB_FILE.fullmatch(path.name)]
        if paths and self._site.step(f"{len(paths)} input files of jobs that BOINC has forgotten", "removed"):
            for path in paths:
                files.remove(path)

    async def _retire(self, app: applications.Application) -> None:
        if not app.deprecated and self._site.step(f"app {_APP} with its versions", "taken out of use"):
            await self._store.retire(app.id)
            self._site.reread()

    def _take_out(self, name: str, document: bytes, elements: Sequence[config_file.Element]) -> None:
        """Remove *elements* from config.xml or project.xml; unless edited, the file is then as before setup."""
        backup = self._site.backup(name)
        before = backup.read_bytes() if backup.exists() else None
        left = config_file.remove(document, elements)
        if before is not None and config_file.equivalent(left, before):
            left = before
        if elements and self._site.step(f"our elements in {name}", "removed"):
            self._site.edit(name, left)
        if left == before:
            self._delete(backup)
        elif backup.exists():
            self._site.say(f"{self._site.shown(backup)}: kept, for {name} was edited since setup")

    def _delete(self, path: Path) -> None:
        """Remove a file of ours; anything else with its name stays."""
        if not os.path.lexists(path):
            return
        if what := files.kind(path.lstat()):
            self._site.say(f"{self._site.shown(path)}: {what} that aioboinc did not make, left there")
        elif self._site.step(self._site.shown(path), "removed"):
            path.unlink()

    def _delete_versions(self, folder: Path) -> None:
        """Remove the files of app versions below *folder*, and directories that are empty then."""
        if not folder.is_dir() or not self._site.step(self._site.shown(folder), "removed"):
            return
        for place, _, names in os.walk(folder, topdown=False):
            for name in names:
                if name == "version.xml" or versions.is_ours(name.removesuffix(".sig")):
                    files.remove(Path(place, name))
            files.remove_empty([Path(place)])
        if folder.exists():
            self._site.say(
                f"{self._site.shown(folder)}: there are files in it that aioboinc did not make, left there"
            )

    def _conclude(self, jobs: int, hosts: int) -> None:
        if self._site.dry_run:
            self._site.say("nothing was changed: this was a dry run")
            return
        if not daemons_module.running(self._root, ["feeder"]):
            (self._root / "reread_db").unlink(missing_ok=True)  # it reads everything when it starts
        if jobs:
            left = (
                f"the database still has {jobs} finished jobs; for their sake {config.OUTPUT_TEMPLATE} stays, and the "
                "application, out of use; undo setup again when BOINC's db_purge has removed them"
            )
        elif hosts:
            left = (
                f"hosts have got versions of the application ({hosts} so far); it stays, out of use, so that the "
                "numbers of these versions never come again"
            )
        else:
            left = "nothing of aioboinc is left"
        self._site.say(f"{self._root}: {left}")


def _refusal(root: Path, unfinished: Sequence[applications.UnfinishedBatch]) -> str:
    batches = ", ".join(f"{batch.id} in {batch.directory}" for batch in unfinished[:_SHOWN])
    more = f" and {len(unfinished) - _SHOWN} more" if len(unfinished) > _SHOWN else ""
    return f"{root}: batches are unfinished: {batches}{more}; let their masters finish, or abort them with --force"
