"""Limits how many connections there are at once.

Without a limit the process runs out of descriptors, and nothing works any more. With a limit alone, whoever takes all
connections would keep others out. So if there are too many, the address with the most of them loses its oldest one.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Hashable

from aiohttp import web

from aioboinc.aio import seldom

__all__ = ["Door", "max_connections", "raise_descriptor_limit"]

_MAX_CONNECTIONS = 10_000
_MIN_CONNECTIONS = 8
_RESERVE = 100
"""Descriptors for everything but connections."""
_EACH = 2
"""Descriptors for a connection: the socket, and a file that is sent or received by it."""

_log = logging.getLogger(__name__)


def raise_descriptor_limit() -> None:
    """Raise this process's limit of descriptors as far as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def max_connections() -> int:
    """Return how many connections the process may have at once, given its limit of descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return min(max((soft - _RESERVE) // _EACH, _MIN_CONNECTIONS), _MAX_CONNECTIONS)


class Door:
    """Keeps the number of connections within *limit*."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seldom = seldom.Seldom(_log)
        self._addresses: dict[Hashable, str] = {}
        self._by_address: dict[str, dict[Hashable, asyncio.Transport]] = {}

    def watch(self, server: web.Server) -> None:
        """Watch the connections of *server* from now on. aiohttp has no other hook for that."""
        made, lost = server.connection_made, server.connection_lost

        def connection_made(handler: web.RequestHandler, transport: asyncio.Transport) -> None:
            made(handler, transport)
            self.enter(_address(transport), handler, transport)

        def connection_lost(handler: web.RequestHandler, exc: BaseException | None = None) -> None:
            self.leave(handler)
            lost(handler, exc)

        server.connection_made = connection_made  # type: ignore[method-assign]
        server.connection_lost = connection_lost  # type: ignore[method-assign]

    def enter(self, address: str, key: Hashable, transport: asyncio.Transport) -> None:
        """Note a connection; if there are too many, close one."""
        self._addresses[key] = address
        self._by_address.setdefault(address, {})[key] = transport
        if len(self._addresses) <= self._limit:
            return
        most = max(self._by_address, key=lambda address: len(self._by_address[address]))
        if len(self._by_address[most]) == 1:
            most = address  # all have one: the new one must wait
        self._seldom(
            logging.WARNING,
            "more than %d connections at once: closed the oldest one of %s, which has %d",
            self._limit,
            most,
            len(self._by_address[most]),
        )
        oldest = next(iter(self._by_address[most]))
        transport = self._by_address[most][oldest]
        self.leave(oldest)
        transport.abort()

    def leave(self, key: Hashable) -> None:
        """Note that a connection is closed."""
        address = self._addresses.pop(key, None)
        if address is not None:
            del self._by_address[address][key]
            if not self._by_address[address]:
                del self._by_address[address]


def _address(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""
