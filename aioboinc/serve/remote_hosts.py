"""The hosts of a served project: finds the one that a request comes from, and counts them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aioboinc.serve import addresses, allowance
from aioboinc.serve.protocol.request import Request
from aioboinc.store import clients, reports

__all__ = ["Identified", "RemoteHosts", "TooMany"]

_ACTIVE = 3600
"""Seconds after its last request for which a host counts as active."""
_COUNTED = 60
"""Seconds for which their count is reused."""

_MAX_NEW = 250
"""New hosts in an hour, for an account and for an address: a lab's machines may all come at once."""
_HOUR = 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identified:
    """The host that a request comes from."""

    id: int
    values: Mapping[str, int | float | str]
    """What it says about itself, by columns of the table ``host``."""
    host: clients.Host | None
    """What was known about it before; None for a new one."""
    is_news: bool
    """Whether the ID is new to the client."""
    has_nothing: bool
    """Whether it came back without the results that it had, which are ended now."""


class TooMany(Exception):
    """There were too many new hosts; *seconds* says when there may be another one."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class RemoteHosts:
    """The hosts of other people."""

    def __init__(self, clients: clients.Clients, reports: reports.Reports, clock: Callable[[], float]) -> None:
        self._clients = clients
        self._reports = reports
        self._new = allowance.Allowance(_MAX_NEW, _HOUR, clock=clock)
        self._active = 0
        self._counted = 0

    async def identify(
        self, account: clients.Account, host: clients.Host | None, request: Request, address: str, *, now: int
    ) -> Identified:
        """Find or make the host that calls from *address*, by the rules of BOINC's ``authenticate_user``.

        *host* is the one whose ID the request gives. Raises `TooMany`.
        """
        values = _values(account, request, address)
        if host is not None and host.userid == account.id and request.rpc_seqno >= host.rpc_seqno:
            return Identified(host.id, values, host, is_news=False, has_nothing=False)
        # From here on it is a new host, a copy of another one, or one that comes back.
        found = None
        if host is None and request.host_cpid:
            found = await self._clients.host_by_cpid(account.id, str(values["host_cpid"]))
            if found is not None and found.hardware != _hardware(values):
                found = None
        if found is None and not request.shares_machine and _is_described(values):
            found = await self._clients.similar_host(account.id, values)
        if found is None:
            wait = self._new.take(f"account {account.id}", addresses.network(address))
            if wait:
                raise TooMany(wait)
            id = await self._clients.create_host(account.id, values, now=now)
            _log.info("host %d of account %d is new: %s", id, account.id, values["domain_name"])
            return Identified(id, values, None, is_news=True, has_nothing=True)
        has_nothing = not request.in_progress and not request.shares_machine
        if has_nothing:
            await self._reports.detach(found.id, now=now)
        return Identified(found.id, values, found, is_news=True, has_nothing=has_nothing)

    async def active(self, now: int) -> int:
        """Return how many hosts have called in the last hour; at most a minute old."""
        if now - self._counted >= _COUNTED or self._active < 2:
            self._active = await self._clients.active_hosts(now - _ACTIVE)
            self._counted = now
        return self._active


def _values(account: clients.Account, request: Request, address: str) -> Mapping[str, int | float | str]:
    # Hashed with the account, so that nobody can claim somebody else's host.
    cpid = hashlib.md5(f"{request.host_cpid}{account.email_addr}".encode(), usedforsecurity=False).hexdigest()
    return {**request.host, "host_cpid": cpid, "external_ip_addr": address}


def _hardware(values: Mapping[str, int | float | str]) -> tuple[int | float | str, ...]:
    return tuple(values[name] for name in ("p_ncpus", "p_vendor", "p_model", "os_name", "os_version"))


def _is_described(values: Mapping[str, int | float | str]) -> bool:
    return all(values[name] for name in ("domain_name", "last_ip_addr", "os_name", "p_model"))
