"""Makes a BOINC project ready for us: ``python -m aioboinc setup``.

Everything is checked before anything is changed. Each step does only what is missing: running setup again completes an
interrupted run, and changes nothing after a complete one. Masters can submit as soon as there is a version of the
application; by then, everything else that they need is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aioboinc import errors, store
from aioboinc.aio import durable
from aioboinc.app_versions import interpreters
from aioboinc.app_versions import versions as app_versions
from aioboinc.batch import preflight
from aioboinc.project import config as project
from aioboinc.project import keys, templates
from aioboinc.setup import config_file, daemons, versions
from aioboinc.setup import site as sites
from aioboinc.store import applications

__all__ = ["ADDED", "Options", "own_elements", "setup"]

ADDED = "<!-- added for pyboinc -->"
"""Marks platforms in project.xml that were not there before."""


@dataclass(frozen=True)
class Options:
    """What an administrator may choose; what is not chosen stays as an earlier run set it."""

    python: tuple[Path, ...] = ()
    """Directories of relocatable interpreters to bundle, each for its own platform."""
    without_python: bool = False
    """Bundle no others: those that hosts get now are left out of the next version."""
    validator: str | None = None
    """One of `daemons.VALIDATORS`; at first ours."""
    user: str | None = None
    """E-mail address of the account that batches belong to; at first the project's oldest account."""
    homogeneous_redundancy: int | None = None
    """BOINC's class of equivalent hosts: 0 none, 1 fine, 2 coarse; at first 0."""


async def setup(
    root: Path, options: Options, *, dry_run: bool = False, say: Callable[[str], None] = print
) -> None:
    """Make the BOINC project in the directory *root* ready, and report each step to *say*.

    A *dry_run* changes nothing. If started by the superuser, the process becomes the project's owner's, for good.
    Raises `errors.UsageError`, before any change unless the system refuses something in the middle.
    """
    read = project.read(root)
    if read.kind is not project.Kind.BOINC:
        raise errors.ProjectError(f"{root} is a project of aioboinc's own: it needs no setup")
    sites.become_owner(root, say)
    data = store.open(read)
    site = sites.Site(read, data, dry_run=dry_run, say=say)
    with sites.clear_errors(root), sites.alone(root):
        work = _Setup(site, options)
        async with data:
            preflight.check_database(root, await data.schema.missing())
            await work.run()


class _Setup:
    def __init__(self, site: sites.Site, options: Options) -> None:
        """Check everything; raise `errors.UsageError` if the project or the options are not in order."""
        self._site = site
        self._options = options
        self._root = site.root
        self._key_dir = site.project.key_dir
        self._template = site.root / project.OUTPUT_TEMPLATE
        site.check_writable(site.root, site.root / "bin", self._template.parent, self._key_dir)
        bundles = [bundle for directory in options.python for bundle in interpreters.read(directory)]
        for bundle in bundles:
            interpreters.try_out(bundle)
        self._versions = versions.Versions(
            site,
            {bundle.platform: bundle for bundle in bundles},
            keep_bundles=not options.without_python,
        )
        if options.validator == "bitwise" and not site.tool("sample_bitwise_validator"):
            raise errors.ProjectError(
                f"{site.root}/bin has no sample_bitwise_validator: take aioboinc's with --validator pyboinc"
            )
        for name in ("config.xml", "project.xml"):
            site.document(name)
        daemons.check_interpreter()

    async def run(self) -> None:
        rows = self._site.applications
        user = await rows.user(self._options.user)
        if user is None and self._options.user is not None:
            raise errors.ProjectError(f"{self._root}: there is no account {self._options.user}; make it first")
        tables = await self._site.store.schema.ours()
        made = [
            self._site.step(f"table {name}", None if name in tables else "made")
            for name in ("pyboinc_batch", "pyboinc_calls")
        ]
        if any(made):
            await self._site.store.schema.make()
        key = self._key()
        self._file(self._template, templates.OUTPUT_TEXT.encode(), 0o644)
        for name, module in daemons.LAUNCHERS.items():
            self._file(self._root / "bin" / name, daemons.launcher(module), 0o755)
        app = await self._app()
        await self._versions.make(app, key)
        if app and app.deprecated and self._site.step(f"app {project.APP_NAME}", "taken into use again"):
            await rows.set_deprecated(app.id, False)
            self._site.reread()
        await self._submitter(app, user)
        self._daemons()
        self._conclude()

    def _key(self) -> keys.PrivateKey | None:
        private, public = (self._key_dir / name for name in (keys.PROGRAM_PRIVATE, keys.PROGRAM_PUBLIC))
        complete = private.exists() and public.exists()
        if self._site.step("key for signing programs", None if complete else "made"):
            return keys.create(private, public)
        return keys.load(private) if private.exists() else None

    def _file(self, path: Path, data: bytes, mode: int) -> None:
        change = None
        if not durable.is_placed(path, data, mode):
            change = "changed" if path.exists() else "written"
        if self._site.step(self._site.shown(path), change):
            path.parent.mkdir(exist_ok=True)
            durable.place(path, data, mode)

    async def _app(self) -> applications.Application | None:
        """Make the application and the platforms. Returns None if a dry run has not made it."""
        rows = self._site.applications
        app = await rows.find(project.APP_NAME)
        known = await rows.platforms()
        lacking = [platform for name, platform in app_versions.PLATFORMS.items() if name not in known]
        go = self._site.step(f"app {project.APP_NAME}", None if app else "added")
        for platform in lacking:
            go = self._site.step(f"platform {platform.name}", "added")
        if go:
            await self._xadd(lacking)
        app = await rows.find(project.APP_NAME)
        level = self._options.homogeneous_redundancy
        if level is not None:
            same = (app.homogeneous_redundancy if app else 0) == level
            if self._site.step(f"homogeneous redundancy {level}", None if same else "set") and app:
                await rows.set_homogeneous_redundancy(app.id, level)
                self._site.reread()
        return app

    async def _xadd(self, platforms: list[app_versions.Platform]) -> None:
        """Put the application and *platforms* into project.xml, and with bin/xadd into the database."""
        rows = self._site.applications
        document = self._site.document("project.xml")
        said = ""
        if document is not None:
            changed = _with_entries(document, platforms)
            if changed != document:
                self._site.edit("project.xml", changed, pristine=not own_elements(document))
            tool = self._site.tool("xadd")
            if tool is not None:
                said = await self._site.run(tool)
        if said and await rows.find(project.APP_NAME) is None:
            self._site.say(f"bin/xadd has not added the application ({said}): it was added without")
        # If the tool is missing, or has failed, do the same as it.
        await rows.register(
            project.APP_NAME,
            project.FRIENDLY_NAME,
            {platform.name: platform.friendly_name for platform in platforms},
        )

    async def _submitter(self, app: applications.Application | None, user: applications.User | None) -> None:
        rows = self._site.applications
        submitters = await rows.submitters(app.id) if app else []
        if self._options.user is None and submitters:
            user = submitters[0]
        if user is None:
            self._site.say("batches: belong to nobody, for there is no account yet; name one later with --user")
            return
        in_place = user.id in {submitter.id for submitter in submitters[:1]}
        if self._site.step(f"batches of {user.name} <{user.email}>", None if in_place else "permitted") and app:
            await rows.permit(app.id, user.id)

    def _daemons(self) -> None:
        """Put the daemons into config.xml."""
        document = self._site.document("config.xml")
        assert document is not None  # it was read before
        changed = daemons.add(document, self._options.validator)
        if self._site.step("daemons in config.xml", None if changed == document else "written"):
            self._site.edit("config.xml", changed, pristine=not daemons.find(document))
        if not _keeps_results_apart(document):
            self._site.say(
                "config.xml: one host may get both results of a job, and their agreement means nothing then; put "
                "<one_result_per_host_per_wu>1</one_result_per_host_per_wu> into <config>, for all applications"
            )

    def _conclude(self) -> None:
        conclusion = f"{self._root} is set up"
        if self._site.dry_run:
            conclusion = "nothing was changed: this was a dry run"
        elif self._site.changes and daemons.running(self._root):
            conclusion += f"; restart its daemons: cd {self._root}, bin/stop, and some seconds later bin/start"
        elif self._site.changes:
            conclusion += f"; start its daemons: cd {self._root}, bin/start"
        self._site.say(conclusion)


def _keeps_results_apart(document: bytes) -> bool:
    """Tell whether config.xml keeps a job's results on different hosts. BOINC's ``make_project`` does not set that."""
    (config,) = config_file.find(document, "boinc", "config")[:1]
    names = ("one_result_per_host_per_wu", "one_result_per_user_per_wu")
    return any(config.children.get(name, "0") != "0" for name in names)


def own_elements(document: bytes) -> list[config_file.Element]:
    """Return our elements of project.xml: the application, and the platforms that were missing."""
    platforms = config_file.find(document, "boinc", "platform")
    added = [element for element in platforms if ADDED.encode() in document[element.start : element.end]]
    apps = config_file.find(document, "boinc", "app")
    return [*added, *(element for element in apps if element.children.get("name") == project.APP_NAME)]


def _with_entries(document: bytes, platforms: list[app_versions.Platform]) -> bytes:
    """Return project.xml with the application and *platforms*."""
    listed = {element.children.get("name") for element in config_file.find(document, "boinc", "platform")}
    entries = [
        f"<platform> {ADDED}\n"
        f"    <name>{platform.name}</name>\n"
        f"    <user_friendly_name>{platform.friendly_name}</user_friendly_name>\n"
        "</platform>"
        for platform in platforms
        if platform.name not in listed
    ]
    apps = {element.children.get("name") for element in config_file.find(document, "boinc", "app")}
    if project.APP_NAME not in apps:
        entries.append(
            f"<app>\n    <name>{project.APP_NAME}</name>\n"
            f"    <user_friendly_name>{project.FRIENDLY_NAME}</user_friendly_name>\n</app>"
        )
    return config_file.append(document, ["boinc"], *entries) if entries else document
