"""Makes the missing versions of the application in a project.

If the project has ``bin/update_versions``, that makes them from ``apps/``, like all others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aioboinc import errors
from aioboinc.aio import durable
from aioboinc.app_versions import interpreters, runtime_archive
from aioboinc.app_versions import versions as app_versions
from aioboinc.project import config, keys
from aioboinc.setup.site import Site
from aioboinc.store import applications

__all__ = ["Versions"]

_APP = config.APP_NAME


@dataclass(frozen=True)
class _Plan:
    """A version to make."""

    platform: str
    files: Sequence[app_versions.File]
    bundled: bool
    """Whether it includes an interpreter."""

    def title(self, version_num: int) -> str:
        bundled = ", with Python" if self.bundled else ""
        return f"app version {app_versions.label(version_num)} for {self.platform}{bundled}"


class Versions:
    """The versions that a project should have."""

    def __init__(self, site: Site, bundles: Mapping[str, interpreters.Bundle], *, keep_bundles: bool) -> None:
        """Raise `errors.UsageError` if the project's files don't allow it, or our own are incomplete.

        *bundles* are new interpreters by platform; with *keep_bundles*, those that hosts get already stay.
        """
        self._site = site
        self._bundles = bundles
        self._keep_bundles = keep_bundles
        self._apps = site.root / "apps"
        key_dir = site.project.key_dir
        for name in ("code_sign_private", "code_sign_public"):
            if not (key_dir / name).exists():
                raise errors.ProjectError(
                    f"{key_dir / name}: the project's code signing key is not there; put it there while setup runs"
                )
        self._private = keys.load_code_sign_private(key_dir / "code_sign_private")
        self._public = keys.load_code_sign_public(key_dir / "code_sign_public")
        if self._private.modulus != self._public.modulus:
            raise errors.ProjectError(f"{key_dir}: code_sign_public does not belong to code_sign_private")
        site.check_writable(self._apps / _APP, site.project.download_dir)
        runtime_archive.files()

    async def make(self, app: applications.Application | None, key: keys.PrivateKey | None) -> None:
        """Make what is missing. *app* and *key* may be None, for missing, in a dry run only.

        If the administrator has deprecated the newest version for a platform, none is made for it.
        """
        versions = await self._site.applications.versions(app.id) if app else []
        newest = {version.platform: version for version in versions}
        public_key = app_versions.public_key(key, self._site.project.master_url) if key else b""
        missing = []
        for platform in app_versions.PLATFORMS.values():
            version = newest.get(platform.name)
            bundle = self._bundles.get(platform.name)
            if app and version and version.deprecated:
                if not app.deprecated and not bundle:
                    self._site.say(f"app version for {platform.name}: deprecated, and left so")
                    continue
                version = None
            if version and not bundle and self._keep_bundles:
                bundle = app_versions.kept_bundle(version.xml_doc, platform, self._site.project.download_dir)
            plan = _Plan(
                platform.name, app_versions.files(platform, public_key, bundle), bundled=bundle is not None
            )
            if key and version and app_versions.is_signed(version.xml_doc, plan.files, self._public):
                self._site.step(plan.title(version.version_num), None)
                self._restore(plan.files)
            else:
                missing.append(plan)
        if missing:
            number = _next_number(versions, {plan.platform for plan in missing})
            go = [self._site.step(plan.title(number), "added") for plan in missing]
            if app and all(go):
                await self._publish(app.id, number, missing)

    def _restore(self, files: Sequence[app_versions.File]) -> None:
        """Write again files that are missing from the download directory."""
        for file in files:
            path = self._site.project.download_dir / file.name
            if not durable.is_placed(path, file.data) and self._site.step(self._site.shown(path), "written again"):
                durable.place(path, file.data)

    async def _publish(self, appid: int, number: int, plans: Sequence[_Plan]) -> None:
        self._prepare(number, plans)
        obstacle = await self._obstacle(number, plans)
        if obstacle is None:
            said = await self._site.run(self._site.root / "bin" / "update_versions", "--noconfirm")
        else:
            said = f"{obstacle}; they were signed and added without bin/update_versions"
            self._site.say(f"app versions: {said}")
            await self._add(appid, number, plans)
        self._site.reread()
        await self._verify(appid, number, plans, said)

    def _prepare(self, number: int, plans: Sequence[_Plan]) -> None:
        """Put the files into the download directory and, laid out for update_versions, into ``apps/``."""
        parent = self._apps / _APP / app_versions.label(number)
        parent.mkdir(parents=True, exist_ok=True)
        for plan in plans:
            for file in plan.files:
                durable.place(self._site.project.download_dir / file.name, file.data)
            temporary = parent / f".{plan.platform}.new"  # update_versions ignores names with a leading dot
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            for file in plan.files:
                durable.place(temporary / file.name, file.data, 0o755 if file.executable else 0o644)
            durable.place(temporary / "version.xml", app_versions.version_xml(plan.files).encode())
            shutil.rmtree(parent / plan.platform, ignore_errors=True)
            os.rename(temporary, parent / plan.platform)
        durable.sync(self._site.root)
        durable.sync(self._site.project.download_dir)

    async def _obstacle(self, number: int, plans: Sequence[_Plan]) -> str | None:
        """Return why bin/update_versions must not be run, None if it may.

        It stops at anything unknown in ``apps/``, and publishes everything new there, ready or not.
        """
        if not (self._site.tool("update_versions") and self._site.tool("sign_executable")):
            return "the project has no bin/update_versions with bin/sign_executable"
        store = self._site.applications
        ours = {applications.Known(_APP, number, plan.platform, "") for plan in plans}
        known = await store.known_versions() | ours
        platforms, apps = await store.platforms(), await store.names()
        for app in _visible(self._apps):
            if app.name not in apps:
                return f"{self._site.shown(app)} is not an application"
            for version in _visible(app):
                for directory in _visible(version):
                    platform, _, plan_class = directory.name.partition("__")
                    new = applications.Known(app.name, _version_num(version.name), platform, plan_class)
                    if new.version_num < 0 or platform not in platforms or new in known:
                        continue
                    if app.name == _APP:
                        shutil.rmtree(directory)  # left by an interrupted run
                    else:
                        return f"{self._site.shown(directory)} is not published yet"
        return None

    async def _add(self, appid: int, number: int, plans: Sequence[_Plan]) -> None:
        platforms = await self._site.applications.platforms()
        base = self._site.project.download_url
        for plan in plans:
            document = app_versions.document(
                plan.files, number, url=lambda name: f"{base}/{name}", key=self._private
            )
            await self._site.applications.add_version(appid, platforms[plan.platform], number, document)

    async def _verify(self, appid: int, number: int, plans: Sequence[_Plan], said: str) -> None:
        """Check what was made: the tools' exit statuses say nothing."""
        versions = await self._site.applications.versions(appid)
        for plan in plans:
            made = [v for v in versions if v.version_num == number and v.platform == plan.platform]
            if not made:
                raise errors.ProjectError(
                    f"{self._site.root}: {plan.title(number)} was not made: {said}; put that right and run setup "
                    "again to complete it"
                )
            if not app_versions.is_signed(made[0].xml_doc, plan.files, self._public):
                await self._site.applications.remove_version(made[0].id)
                raise errors.ProjectError(
                    f"{self._site.root}: {plan.title(number)} was made without valid signatures, and removed "
                    f"again: {said}"
                )


def _next_number(versions: Sequence[applications.Version], platforms: set[str]) -> int:
    """Return the number for new versions for *platforms*: the newest one, if all of them can use it."""
    number = max([runtime_archive.version_num(), *(version.version_num for version in versions)])
    taken = {version.platform for version in versions if version.version_num == number}
    return number + 1 if taken & platforms else number


def _visible(directory: Path) -> Iterator[Path]:
    """Yield what update_versions sees in *directory*."""
    if directory.is_dir():
        yield from sorted(path for path in directory.iterdir() if not path.name.startswith("."))


def _version_num(name: str) -> int:
    """Return the number of a version's directory as update_versions reads it, -1 if it is none."""
    major, _, minor = name.partition(".")
    minor = minor.partition(".")[0]
    if not major.isdecimal() or not (minor.isdecimal() or name == major):
        return -1
    return 100 * int(major) + int(minor) if minor else int(major)
