"""Applications: the row, its versions for platforms, and who may submit to it. `setup` makes and removes these."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aioboinc import connectors, models
from aioboinc.store import queries

__all__ = ["Application", "Applications", "Known", "UnfinishedBatch", "User", "Version"]


@dataclass(frozen=True, slots=True)
class Application:
    """An application, even one that is no longer used."""

    id: int
    deprecated: bool
    """Whether it is no longer used, and hidden from hosts."""
    homogeneous_redundancy: int
    """BOINC's class of equivalent hosts: 0 none, 1 fine, 2 coarse."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of an application for a platform."""

    id: int
    version_num: int
    """101 for 1.01."""
    platform: str
    deprecated: bool
    xml_doc: str
    """The document that hosts get: its files."""


@dataclass(frozen=True, slots=True)
class Known:
    """Identifies a version of any application."""

    app: str
    version_num: int
    platform: str
    plan_class: str


@dataclass(frozen=True, slots=True)
class User:
    """An account."""

    id: int
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class UnfinishedBatch:
    """A batch whose master has not finished."""

    id: int
    token: str
    directory: str
    njobs: int
    nassimilated: int


class Applications:
    """Verbs on applications."""

    def __init__(self, connector: connectors.Connector, clock: Callable[[], float] = time.time) -> None:
        self._connector = connector
        self._sql = queries.Queries("applications", connector.dialect)
        self._clock = clock

    async def find(self, name: str) -> Application | None:
        """Return the application *name*, None if there is none."""
        rows = await self._fetch("find", name=name)
        if not rows:
            return None
        row = rows[0]
        return Application(row["id"], bool(row["deprecated"]), row["homogeneous_redundancy"])

    async def names(self) -> set[str]:
        """Return the names of all applications."""
        return {row["name"] for row in await self._fetch("names")}

    async def add(self, name: str, friendly_name: str) -> None:
        """Add an application."""
        await self._execute("add", name=name, friendly_name=friendly_name, now=int(self._clock()))

    async def register(self, name: str, friendly_name: str, platforms: Mapping[str, str]) -> Application:
        """Return the application *name*, which is made if it isn't there; so are *platforms*.

        These are friendly names by name.
        """
        known = await self.platforms()
        for platform, description in platforms.items():
            if platform not in known:
                await self.add_platform(platform, description)
        app = await self.find(name)
        while app is None:
            await self.add(name, friendly_name)
            app = await self.find(name)
        return app

    async def set_deprecated(self, appid: int, deprecated: bool) -> None:
        """Take an application out of use, or back into it."""
        await self._execute("set_deprecated", appid=appid, deprecated=deprecated)

    async def set_homogeneous_redundancy(self, appid: int, level: int) -> None:
        """Set the class of equivalent hosts: 0 none, 1 fine, 2 coarse."""
        await self._execute("set_homogeneous_redundancy", appid=appid, level=level)

    async def platforms(self) -> dict[str, int]:
        """Return the IDs of all platforms by name."""
        return {row["name"]: row["id"] for row in await self._fetch("platforms")}

    async def add_platform(self, name: str, friendly_name: str) -> None:
        """Add a platform."""
        await self._execute("add_platform", name=name, friendly_name=friendly_name, now=int(self._clock()))

    async def remove_platform(self, name: str) -> bool:
        """Remove a platform unless a version is for it; tell whether it is gone."""
        return await self._execute("remove_platform", name=name) > 0

    async def versions(self, appid: int) -> list[Version]:
        """Return the versions of an application without plan class, the oldest first."""
        return [
            Version(
                row["id"],
                row["version_num"],
                row["platform"],
                bool(row["deprecated"]),
                bytes(row["xml_doc"] or b"").decode(errors="replace"),
            )
            for row in await self._fetch("versions", appid=appid)
        ]

    async def known_versions(self) -> set[Known]:
        """Return the versions of all applications."""
        return {Known(**row) for row in await self._fetch("known_versions")}

    async def add_version(self, appid: int, platformid: int, version_num: int, xml_doc: str) -> None:
        """Add a version of an application for a platform; *version_num* is 101 for 1.01."""
        await self._execute(
            "add_version",
            appid=appid,
            platformid=platformid,
            version_num=version_num,
            xml_doc=xml_doc.encode(),
            now=int(self._clock()),
        )

    async def remove_version(self, version: int) -> None:
        """Remove a version."""
        await self._execute("remove_version", id=version)

    async def user(self, email: str | None) -> User | None:
        """Return the account with this e-mail address, or the oldest for None; None if there is none."""
        rows = await self._fetch("first_user") if email is None else await self._fetch("user", email=email)
        return _user(rows[0]) if rows else None

    async def submitters(self, appid: int) -> list[User]:
        """Return the accounts that may submit to an application; those that manage it come last."""
        return [_user(row) for row in await self._fetch("submitters", appid=appid)]

    async def permit(self, appid: int, user: int) -> None:
        """Let only this account, and those that manage an application, submit to it.

        From now on the web pages show the account its batches.
        """

        async def work(tx: connectors.Transaction) -> None:
            await self._sql.fit(tx)
            before = await tx.fetch_all(self._sql["submitters"], {"appid": appid})
            await tx.execute(self._sql["forbid_others"], {"appid": appid, "user": user})
            if not await tx.fetch_one(self._sql["permitted"], {"appid": appid, "user": user}):
                await tx.execute(self._sql["permit"], {"appid": appid, "user": user})
            if await tx.columns("user_submit"):
                if not await tx.fetch_one(self._sql["submitter"], {"user": user}):
                    await tx.execute(self._sql["make_submitter"], {"user": user})
                await self._unmake_submitters(tx, before)

        await self._connector.run(work)

    async def unfinished_batches(self, appid: int) -> list[UnfinishedBatch]:
        """Return the batches of an application whose masters have not finished."""

        async def work(tx: connectors.Transaction) -> list[UnfinishedBatch]:
            if not await tx.columns("pyboinc_batch"):
                return []
            values = {"appid": appid, "open": models.SubmissionState.OPEN}
            return [UnfinishedBatch(**row) for row in await tx.fetch_all(self._sql["unfinished_batches"], values)]

        return await self._connector.read(work)

    async def jobs(self, appid: int) -> int:
        """Return how many workunits an application has, without those that BOINC has purged."""
        rows = await self._fetch("jobs", appid=appid)
        return int(rows[0]["n"])

    async def hosts(self, appid: int) -> int:
        """Return how many hosts have got a version of an application."""
        rows = await self._fetch("hosts", appid=appid)
        return int(rows[0]["n"])

    async def retire(self, appid: int) -> None:
        """Take an application with all its versions out of use; nobody may submit to it any more."""

        async def work(tx: connectors.Transaction) -> None:
            await self._forbid(tx, appid)
            await tx.execute(self._sql["set_deprecated"], {"appid": appid, "deprecated": 1})
            await tx.execute(self._sql["deprecate_versions"], {"appid": appid})

        await self._connector.run(work)

    async def remove(self, appid: int) -> None:
        """Remove an application that has neither workunits nor hosts, and all rows that are about it."""

        async def work(tx: connectors.Transaction) -> None:
            await self._forbid(tx, appid)
            for query in ("remove_versions", "remove_batches", "remove"):
                await tx.execute(self._sql[query], {"appid": appid})

        await self._connector.run(work)

    async def _forbid(self, tx: connectors.Transaction, appid: int) -> None:
        await self._sql.fit(tx)
        before = await tx.fetch_all(self._sql["submitters"], {"appid": appid})
        await tx.execute(self._sql["forbid"], {"appid": appid})
        if await tx.columns("user_submit"):
            await self._unmake_submitters(tx, before)

    async def _unmake_submitters(self, tx: connectors.Transaction, rows: Sequence[connectors.Row]) -> None:
        """Undo what else `permit` has done, for accounts that have no permission any more."""
        for row in rows:
            await tx.execute(self._sql["unmake_submitter"], {"user": row["id"]})

    async def _fetch(self, query: str, **values: Any) -> Sequence[connectors.Row]:
        async def work(tx: connectors.Transaction) -> Sequence[connectors.Row]:
            await self._sql.fit(tx)
            return await tx.fetch_all(self._sql[query], values)

        return await self._connector.read(work)

    async def _execute(self, query: str, **values: Any) -> int:
        async def work(tx: connectors.Transaction) -> int:
            await self._sql.fit(tx)
            return await tx.execute(self._sql[query], values)

        return await self._connector.run(work)


def _user(row: connectors.Row) -> User:
    return User(row["id"], row["name"] or "", row["email_addr"])
