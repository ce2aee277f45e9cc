"""The application in the database of a served project, and the project's first account."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass

from aioboinc import store
from aioboinc.aio import durable, threads
from aioboinc.app_versions import versions as app_versions
from aioboinc.project import config as projects
from aioboinc.project import keys
from aioboinc.serve import key_files
from aioboinc.serve.protocol import reply
from aioboinc.setup import site as sites
from aioboinc.setup import versions as wanted
from aioboinc.store import clients

__all__ = ["Application", "set_up"]

_OWNER = "owner@localhost"
"""The e-mail address of a project's first account, which has no password."""


@dataclass(frozen=True)
class Application:
    """The application in the database."""

    id: int
    app: reply.App
    versions: Mapping[str, reply.AppVersion]
    """The newest versions, by platform."""
    account: clients.Account
    """The project's first account."""


async def set_up(project: projects.Project, data: store.Store, *, now: int) -> Application:
    """Make the tables, the keys, the application with its versions, and an account, if missing.

    Raises `errors.ProjectError`, `errors.DatabaseError`.
    """
    await data.schema.make(whole=True)
    key = await threads.in_thread(_make_keys, project)
    rows = data.applications
    platforms = {platform.name: platform.friendly_name for platform in app_versions.PLATFORMS.values()}
    app = await rows.register(projects.APP_NAME, projects.FRIENDLY_NAME, platforms)
    site = sites.Site(project, data, dry_run=False, say=lambda line: None)
    with sites.clear_errors(project.root):
        await wanted.Versions(site, {}, keep_bundles=True).make(app, key)
    versions = {
        version.platform: reply.AppVersion(version.id, version.platform, version.version_num, version.xml_doc)
        for version in await rows.versions(app.id)
        if not version.deprecated
    }
    account = await _first_account(data.clients, now)
    await rows.permit(app.id, account.id)
    await threads.in_thread(
        durable.place, project.root / key_files.ACCOUNT_KEY, f"{account.key}\n".encode("ascii"), 0o600
    )
    app_row = reply.App(projects.APP_NAME, projects.FRIENDLY_NAME)
    return Application(app.id, app_row, versions, account)


async def _first_account(clients: clients.Clients, now: int) -> clients.Account:
    account = await clients.account_by_email(_OWNER)
    if account is None:
        account = await clients.create_account(_user_name(), _OWNER, "", now=now)
        assert account is not None
    return account


def _make_keys(project: projects.Project) -> keys.PrivateKey:
    keys.create_code_sign_keys(project.key_dir)
    return keys.create(project.key_dir / keys.PROGRAM_PRIVATE, project.key_dir / keys.PROGRAM_PUBLIC)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "owner"
