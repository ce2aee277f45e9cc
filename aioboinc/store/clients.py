"""Clients: accounts, and the hosts that belong to them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aioboinc import connectors, sql
from aioboinc.store import recipients, reports

__all__ = ["Account", "Clients", "Host"]

_NAMES_TRIED = 100
_TEXTS = ("domain_name", "last_ip_addr", "p_vendor", "p_model", "os_name", "os_version", "host_cpid")
_NUMBERS = (
    *("timezone", "on_frac", "connected_frac", "active_frac", "gpu_active_frac", "duration_correction_factor"),
    *("p_ncpus", "p_fpops", "p_iops", "p_membw", "m_nbytes", "m_cache", "m_swap", "d_total", "d_free"),
    *("d_boinc_used_total", "d_boinc_used_project", "d_boinc_max", "n_bwup", "n_bwdown"),
)
_SILENT = dict.fromkeys((*_TEXTS, "external_ip_addr", "product_name", "misc"), "") | dict.fromkeys(_NUMBERS, 0)
"""Values for what a host does not tell, by columns of the table ``host``."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account, which hosts belong to."""

    id: int
    create_time: int
    email_addr: str
    name: str
    key: str
    """The secret that its hosts show (``authenticator``)."""
    total_credit: float
    expavg_credit: float
    cross_project_id: str
    passwd_hash: str


@dataclass(frozen=True, slots=True)
class Host:
    """A host, as it was at its previous request."""

    id: int
    userid: int
    create_time: int
    rpc_seqno: int
    """Number of its last request."""
    rpc_time: int
    """Time of its last request."""
    total_credit: float
    expavg_credit: float
    hardware: tuple[int, str, str, str, str]
    """Cores, vendor and model of the CPU, operating system and its version; these rarely change."""
    banned: bool
    """Whether the host's requests are refused (``max_results_day`` of -1)."""


class Clients:
    """Verbs on accounts and on the hosts that call."""

    def __init__(self, connector: connectors.Connector) -> None:
        self._connector = connector
        self._sql = sql.load("clients", connector.dialect)
        self._reports = reports.Reports(connector)
        self._quotas = recipients.Quotas(connector)

    async def caller(self, key: str, hostid: int) -> tuple[Account | None, Host | None]:
        """Return the account with this *key* and, if there is one, the host with this ID."""

        async def work(tx: connectors.Transaction) -> tuple[Account | None, Host | None]:
            row = await tx.fetch_one(self._sql["account_by_key"], {"key": key})
            # MySQL ignores case and accents.
            if row is None or not secrets.compare_digest(row["authenticator"], key):
                return None, None
            host = await tx.fetch_one(self._sql["host"], {"id": hostid}) if hostid else None
            return _account(row), None if host is None else _host(host)

        return await self._connector.read(work, brief=True) if key else (None, None)

    async def is_key(self, key: str) -> bool:
        """Tell whether an account has this *key*."""
        account, _ = await self.caller(key, 0)
        return account is not None

    async def account_by_email(self, email_addr: str) -> Account | None:
        """Return the account of an e-mail address."""

        async def work(tx: connectors.Transaction) -> Account | None:
            row = await tx.fetch_one(self._sql["account_by_email"], {"email_addr": email_addr})
            return None if row is None else _account(row)

        return await self._connector.read(work, brief=True)

    async def create_account(self, name: str, email_addr: str, passwd_hash: str, *, now: int) -> Account | None:
        """Make an account with a random key; None if the address has one. A number is added to a taken name."""

        async def work(tx: connectors.Transaction) -> bool:
            names = (name if number == 1 else f"{name} {number}" for number in range(1, _NAMES_TRIED))
            for unique in names:
                if await tx.fetch_one(self._sql["account_by_name"], {"name": unique}) is None:
                    break
            try:
                await tx.insert(
                    self._sql["create_account"],
                    {
                        "now": now,
                        "name": unique,
                        "email_addr": email_addr,
                        "authenticator": secrets.token_hex(16),
                        "cross_project_id": secrets.token_hex(16),
                        "passwd_hash": passwd_hash,
                        "project_prefs": b"",
                    },
                )
            except connectors.DuplicateKey:
                return False
            return True

        return await self.account_by_email(email_addr) if await self._connector.run(work, brief=True) else None

    async def host_by_cpid(self, userid: int, cpid: str) -> Host | None:
        """Return the account's newest host with this cross-project name."""
        return await self._host("host_by_cpid", {"userid": userid, "host_cpid": cpid})

    async def similar_host(self, userid: int, values: Mapping[str, int | float | str]) -> Host | None:
        """Return the account's newest host of the same name, address, system and hardware."""
        return await self._host("similar_host", {"userid": userid, **values})

    async def create_host(self, userid: int, values: Mapping[str, int | float | str], *, now: int) -> int:
        """Make a host from what it says about itself, by column; return its ID. Other columns are 0 or empty."""

        async def work(tx: connectors.Transaction) -> int:
            return await tx.insert(self._sql["create_host"], {**_SILENT, **values, "userid": userid, "now": now})

        return await self._connector.run(work, brief=True)

    async def active_hosts(self, since: int) -> int:
        """Return how many hosts have called since then."""

        async def work(tx: connectors.Transaction) -> int:
            row = await tx.fetch_one(self._sql["active_hosts"], {"since": since})
            return 0 if row is None else int(row["n"])

        return await self._connector.read(work, brief=True)

    async def contact(
        self,
        hostid: int,
        rpc_seqno: int,
        values: Mapping[str, int | float | str],
        reported: Sequence[reports.Report],
        *,
        quota: int,
        new_day: bool,
        now: int,
    ) -> Sequence[reports.Reported]:
        """Store that a host has called, what it says about itself, and the results that it reports.

        Returns the results that were still expected from it; their workunits are due for the transitioner. Everything
        is durable on return, so the client may forget the results. A failed result halves what the host may get in a
        day (at first *quota*), unless nobody's results of the batch have been good so far; the validator doubles it for
        good ones. On a *new_day*, the host's count starts at 0.
        """

        async def work(tx: connectors.Transaction) -> Sequence[reports.Reported]:
            await tx.execute(
                self._sql["update_host"], {**values, "hostid": hostid, "rpc_seqno": rpc_seqno, "now": now}
            )
            if new_day:
                await self._quotas.begin_day(tx, hostid)
            return await self._reports.accept(tx, hostid, int(values["p_ncpus"]), reported, quota=quota, now=now)

        return await self._connector.run(work, durable=bool(reported), brief=True)

    async def _host(self, query: str, params: Mapping[str, int | float | str]) -> Host | None:
        async def work(tx: connectors.Transaction) -> Host | None:
            row = await tx.fetch_one(self._sql[query], params)
            return None if row is None else _host(row)

        return await self._connector.read(work, brief=True)


def _account(row: connectors.Row) -> Account:
    return Account(
        id=row["id"],
        create_time=row["create_time"],
        email_addr=row["email_addr"],
        name=row["name"],
        key=row["authenticator"],
        total_credit=row["total_credit"],
        expavg_credit=row["expavg_credit"],
        cross_project_id=row["cross_project_id"],
        passwd_hash=row["passwd_hash"],
    )


def _host(row: connectors.Row) -> Host:
    return Host(
        id=row["id"],
        userid=row["userid"],
        create_time=row["create_time"],
        rpc_seqno=row["rpc_seqno"],
        rpc_time=row["rpc_time"],
        total_credit=row["total_credit"],
        expavg_credit=row["expavg_credit"],
        hardware=(row["p_ncpus"], row["p_vendor"], row["p_model"], row["os_name"], row["os_version"]),
        banned=row["max_results_day"] == -1,
    )
