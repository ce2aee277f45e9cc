"""A project that is served: how it comes into being, and its configuration.

It looks like a BOINC project's directory, so masters find their way in it by config.xml. Done again, each step
finishes what was begun, or finds that it is done.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import secrets
import socket
import urllib.parse
import xml.etree.ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aioboinc import connectors, errors, printable, sql
from aioboinc.aio import durable, threads
from aioboinc.app_versions import versions as app_versions
from aioboinc.project import config as projects
from aioboinc.project import keys, templates
from aioboinc.serve import accounts, addresses, scheduler
from aioboinc.serve.protocol import reply
from aioboinc.setup import site as sites
from aioboinc.setup import steps
from aioboinc.setup import versions as wanted
from aioboinc.store import applications, clients
from aioboinc.wire import documents

__all__ = [
    "DEFAULT_LISTEN",
    "Address",
    "Application",
    "Settings",
    "check",
    "code_sign_keys",
    "create",
    "read_settings",
    "set_up",
    "status_key",
]

DEFAULT_LISTEN = "127.0.0.1:8416"
_CONFIG = """\
<?xml version="1.0" ?>
<boinc>
    <config>
        <!-- The project's name for people. -->
        <long_name>{name}</long_name>
        <!-- Hosts know the project by this URL, and have it in their files: it is for good. -->
        <master_url>{url}</master_url>
        <download_url>{url}download</download_url>
        <upload_url>{url}file_upload_handler</upload_url>
        <listen>{listen}</listen>
        <database_url>{database}</database_url>
        <served>1</served>
        <!-- 1: whoever reaches the server may make an account, as with the option open-accounts. -->
        <open_accounts>0</open_accounts>
        <min_passwd_length>6</min_passwd_length>
        <!-- 1: a job's results go to different accounts, not just to different hosts. -->
        <one_result_per_user_per_wu>0</one_result_per_user_per_wu>
        <!-- Seconds between two requests of a host. -->
        <min_sendwork_interval>6</min_sendwork_interval>
        <!-- Seconds after which an idle host asks again; 0: by the number of hosts. -->
        <next_rpc_delay>0</next_rpc_delay>
        <!-- Results that a host gets at a time, has at a time, and gets in a day; for each of its cores. -->
        <max_wus_to_send>50</max_wus_to_send>
        <max_wus_in_progress>100</max_wus_in_progress>
        <daily_result_quota>100000</daily_result_quota>
        <!-- Cores of a host that count for these limits. -->
        <max_ncpus>64</max_ncpus>
        <uldl_dir_fanout>1024</uldl_dir_fanout>
        <dont_generate_upload_certificates>1</dont_generate_upload_certificates>
        <ignore_upload_certificates>1</ignore_upload_certificates>
        <download_dir>download</download_dir>
        <upload_dir>upload</upload_dir>
        <key_dir>keys</key_dir>
        <app_dir>apps</app_dir>
        <log_dir>log</log_dir>
    </config>
    <tasks>
    </tasks>
    <daemons>
    </daemons>
</boinc>
"""
_DIRECTORIES = {"download": 0o755, "upload": 0o770, "keys": 0o700, "templates": 0o755, "log": 0o755}
_SQLITE = "project.sqlite"
_MAX_PATH = 500
"""Bytes of the database's path: SQLite takes no longer ones."""
_OWNER = "owner@localhost"
"""The e-mail address of the account that a project begins with: it has no password."""
_ACCOUNT_KEY = "account_key"
_STATUS_KEY = "keys/status_key"


@dataclass(frozen=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT``. Raises `errors.UsageError`."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise errors.UsageError(f"--listen {text}: give HOST:PORT, 127.0.0.1:8416 for example")
        return cls(host.strip("[]"), int(port))


@dataclass(frozen=True)
class Settings:
    """What config.xml says of serving."""

    listen: Address
    scheduling: scheduler.Policy
    accounts: accounts.Policy


@dataclass(frozen=True)
class Application:
    """The application in the database."""

    id: int
    app: reply.App
    versions: Mapping[str, reply.AppVersion]
    """The newest versions, by platform."""
    account: clients.Account
    """The account that the project began with."""


async def check(root: Path, *, listen: str | None, url: str | None, database: str | None) -> None:
    """See whether a project can be made in *root* and served, before it is.

    Raises `errors.UsageError`.
    """
    if (root / "config.xml").exists():
        return
    address = Address.parse(listen or DEFAULT_LISTEN)
    _master_url(address, url)
    await threads.in_thread(_check_place, root, database)
    try:
        socket.create_server((address.host, address.port), family=address.family).close()
    except OSError as error:
        raise errors.UsageError(f"--listen {address}: {error.strerror or error}") from None
    if database is not None:
        async with connectors.open(database):
            pass


def _check_place(root: Path, database: str | None) -> None:
    """Refuse a directory in which somebody else's files have our names. Raises `errors.ProjectError`.

    What a run that was interrupted has left there is no more than empty directories, keys and the template.
    """
    refusal = "is there already, and was not made by aioboinc: give --project another directory"
    length = len(os.fsencode(os.path.realpath(root / _SQLITE)))
    if database is None and length > _MAX_PATH:
        raise errors.ProjectError(
            f"{root / _SQLITE}: a path of {length} bytes, and SQLite takes {_MAX_PATH} at most: give --project another "
            "directory, or --database"
        )
    with errors.of_files(root, errors.ProjectError):
        if os.path.lexists(root) and not root.is_dir():
            raise errors.ProjectError(f"{root}: not a directory; give --project another one")
        for name in _DIRECTORIES:
            path = root / name
            if os.path.lexists(path) and (
                not path.is_dir() or any(not _is_first(entry) for entry in path.iterdir())
            ):
                raise errors.ProjectError(f"{path} {refusal}")
        for name in (_SQLITE, _ACCOUNT_KEY):
            if os.path.lexists(root / name) and (root / name).lstat().st_size:
                raise errors.ProjectError(f"{root / name} {refusal}")


def _is_first(path: Path) -> bool:
    return str(path).endswith((projects.OUTPUT_TEMPLATE, f"/.{Path(projects.OUTPUT_TEMPLATE).name}.new"))


def create(root: Path, *, listen: str | None, url: str | None, database: str | None) -> projects.Project:
    """Return the project in *root*, which is made if it isn't there. Blocks.

    Raises `errors.UsageError` if it is there with another URL or database, or if the URL is none that hosts take.
    """
    root = Path(os.path.abspath(root))
    if not (root / "config.xml").exists():
        address = Address.parse(listen or DEFAULT_LISTEN)
        master_url = _master_url(address, url)
        try:
            _make_files(root, str(address), master_url, database or f"sqlite:{_SQLITE}")
        except OSError as error:
            raise errors.ProjectError(f"the project can't be made: {errors.describe(root, error)}") from None
    project = projects.read(root)
    values = _values(root)
    if "served" not in values:
        raise errors.ProjectError(f"{root} is a project of another kind: give --project another directory")
    if url is not None and _checked_url(url) != project.master_url:
        raise errors.ProjectError(
            f"{root} has the URL {project.master_url}, and its hosts know it by that; leave --url away, or give "
            "--project another directory"
        )
    if database is not None and database != project.database_url:
        raise errors.ProjectError(f"{root} has another database; leave --database away")
    return project


def _make_files(root: Path, listen: str, url: str, database: str) -> None:
    # Accounts' keys are in the database, and the owner alone has business here.
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, mode in _DIRECTORIES.items():
        with contextlib.suppress(FileExistsError):
            (root / name).mkdir(mode)
            (root / name).chmod(mode)
    (root / _SQLITE).touch(0o600)
    durable.place(root / templates.OUTPUT, templates.OUTPUT_TEXT.encode())
    text = _CONFIG.format(
        name=documents.escape(printable.line(root.name)),
        url=documents.escape(url),
        listen=documents.escape(listen),
        database=documents.escape(database),
    )
    # The URL of a database has its password in it.
    durable.place(root / "config.xml", text.encode(), 0o600 if "@" in database else 0o644)
    durable.sync(root)


def _master_url(address: Address, url: str | None) -> str:
    if url is None and address.host in {"0.0.0.0", "::"}:
        raise errors.UsageError(
            f"--listen {address}: give --url too, the address by which hosts reach this machine: "
            f"http://lab.example.org:{address.port}/"
        )
    return _checked_url(url or f"http://{address}/")


def _checked_url(url: str) -> str:
    """Return a master URL as clients write it. Raises `errors.UsageError` for one that they refuse."""
    try:
        parts = urllib.parse.urlsplit(url)
        number = parts.port
    except ValueError:
        raise errors.UsageError(
            f"--url {url}: not a URL: give http://lab.example.org:8416/ for example, with a port up to 65535"
        ) from None
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host):
        raise errors.UsageError(
            f"--url {url}: BOINC clients take http or https and a host with a dot in it only, 127.0.0.1 or "
            "lab.example.org for example"
        )
    if parts.query or parts.fragment or parts.username or not re.fullmatch(r"[a-z0-9/._-]*", parts.path):
        raise errors.UsageError(f"--url {url}: its path may have small letters, digits, '/', '.', '_' and '-'")
    port = f":{number}" if number else ""
    return f"{parts.scheme}://{host}{port}/{parts.path.strip('/')}".rstrip("/") + "/"


def read_settings(root: Path, *, listen: str | None = None, open_accounts: bool = False) -> Settings:
    """Read the configuration of serving; *listen* and *open_accounts* are asked for this time.

    Blocks. Raises `errors.ProjectError`.
    """
    values = _values(root)
    default = scheduler.Policy()
    address = Address.parse(listen or values.get("listen") or DEFAULT_LISTEN)

    def number(name: str, fallback: float, least: float) -> float:
        text = values.get(name, "")
        try:
            value = float(text) if text else fallback
        except ValueError:
            value = least - 1
        if not value >= least:
            raise errors.ProjectError(f"{root / 'config.xml'}: <{name}> is {text!r}: give a number from {least:g}")
        return value

    def flag(name: str) -> bool:
        return name in values and values[name] != "0"

    if flag("disable_account_creation") or flag("disable_account_creation_rpc"):
        pass
    elif "open_accounts" in values:
        open_accounts |= flag("open_accounts")
    else:
        # A project of 0.1.0: accounts were open to all that reached it, and on this machine alone nobody needs them.
        open_accounts |= not addresses.is_loopback(address.host)
    return Settings(
        listen=address,
        scheduling=scheduler.Policy(
            min_sendwork_interval=number("min_sendwork_interval", default.min_sendwork_interval, 0),
            next_rpc_delay=number("next_rpc_delay", default.next_rpc_delay, 0),
            max_wus_to_send=int(number("max_wus_to_send", default.max_wus_to_send, 1)),
            max_wus_in_progress=int(number("max_wus_in_progress", default.max_wus_in_progress, 1)),
            daily_result_quota=int(number("daily_result_quota", default.daily_result_quota, 1)),
            max_ncpus=int(number("max_ncpus", default.max_ncpus, 1)),
            one_result_per_user_per_wu=flag("one_result_per_user_per_wu"),
        ),
        accounts=accounts.Policy(
            creation=open_accounts,
            min_passwd_length=int(number("min_passwd_length", accounts.Policy().min_passwd_length, 1)),
        ),
    )


async def set_up(project: projects.Project, connector: connectors.Connector, *, now: int) -> Application:
    """Make the tables, the keys, the application with its versions, and an account, as far as they are missing.

    Raises `errors.ProjectError`, `errors.DatabaseError`.
    """
    await connector.script(sql.schema(connector.dialect, whole=True))
    key = await threads.in_thread(_make_keys, project)
    rows = applications.Applications(connector)
    known = await rows.platforms()
    for platform in app_versions.PLATFORMS.values():
        if platform.name not in known:
            await rows.add_platform(platform.name, platform.friendly_name)
    app = await rows.find(projects.APP_NAME)
    if app is None:
        await rows.add(projects.APP_NAME, steps.FRIENDLY_NAME)
        app = await rows.find(projects.APP_NAME)
        assert app is not None
    site = sites.Site(project, rows, dry_run=False, say=lambda line: None)
    with sites.clear_errors(project.root):
        await wanted.Versions(site, {}, keep_bundles=True).make(app, key)
    versions = {
        version.platform: reply.AppVersion(version.id, version.platform, version.version_num, version.xml_doc)
        for version in await rows.versions(app.id)
        if not version.deprecated
    }
    account = await _first_account(clients.Clients(connector), now)
    await rows.permit(app.id, account.id)
    await threads.in_thread(durable.place, project.root / _ACCOUNT_KEY, f"{account.key}\n".encode("ascii"), 0o600)
    app_row = reply.App(projects.APP_NAME, steps.FRIENDLY_NAME)
    return Application(app.id, app_row, versions, account)


async def _first_account(clients: clients.Clients, now: int) -> clients.Account:
    account = await clients.account_by_email(_OWNER)
    if account is None:
        account = await clients.create_account(_user_name(), _OWNER, "", now=now)
        assert account is not None
    return account


def status_key(project: projects.Project) -> str:
    """Return the secret by which the status page shows all; it is made if it isn't there. Blocks."""
    path = project.root / _STATUS_KEY
    if not path.exists():
        durable.place(path, secrets.token_urlsafe(16).encode("ascii"), 0o600)
    return path.read_text(encoding="ascii").strip()


def code_sign_keys(project: projects.Project) -> scheduler.CodeSignKeys:
    """Return the keys that clients check files with. Blocks. Raises `errors.ProjectError`.

    Older keys are where BOINC has them: ``old_key_N`` and, signed with it, ``signature_stripped_N``.
    """
    directory = project.key_dir
    try:
        current = (directory / "code_sign_public").read_text(encoding="ascii").strip()
        signatures = {}
        for old in directory.glob("old_key_*"):
            signature = directory / f"signature_stripped_{old.name.removeprefix('old_key_')}"
            if signature.exists():
                text = old.read_text(encoding="ascii").strip()
                signatures[text] = signature.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.ProjectError(f"{directory}: {error}") from None
    return scheduler.CodeSignKeys(current, signatures)


def _make_keys(project: projects.Project) -> keys.PrivateKey:
    keys.create_code_sign_keys(project.key_dir)
    return keys.create(project.key_dir / keys.PROGRAM_PRIVATE, project.key_dir / keys.PROGRAM_PUBLIC)


def _values(root: Path) -> Mapping[str, str]:
    """Return the elements of ``<config>``."""
    config = xml.etree.ElementTree.parse(root / "config.xml").find("config")
    return {} if config is None else {element.tag: (element.text or "").strip() for element in config}


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "owner"
