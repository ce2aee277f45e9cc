"""Refuses requests that other sites' pages make a browser send, from inside a network.

A foreign page can have its own name resolve to this server (DNS rebinding), or send requests here. The name in ``Host``
reveals the first kind, ``Origin`` and ``Sec-Fetch-Site`` the other. BOINC clients send neither of these two, and the
name in the project's URL as ``Host``.
"""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, typedefs, web

from aioboinc.serve import addresses

__all__ = ["gate"]

_log = logging.getLogger(__name__)
_MAX_NOTED = 100
"""Number of names to log, each once."""


def gate(master_url: str) -> typedefs.Middleware:
    """Return a middleware that first refuses requests that are not for the project at *master_url*."""
    url = urllib.parse.urlsplit(master_url)
    noted: set[str] = set()

    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        host = _host(request.headers.get(hdrs.HOST, ""))
        if host not in {url.hostname, *_own_names(request)}:
            if host not in noted and len(noted) < _MAX_NOTED:
                noted.add(host)
                _log.warning(
                    "refused: %s calls this server %a; hosts know it as %s",
                    request.remote,
                    host[:254],
                    url.hostname,
                )
            raise web.HTTPMisdirectedRequest
        if _is_foreign(request, f"{url.scheme}://{url.netloc}", is_page=request.path == url.path):
            raise web.HTTPForbidden
        return await handler(request)

    return middleware


def _own_names(request: web.Request) -> set[str]:
    """Return the names of the address that the request came to."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    if not isinstance(name, tuple):
        return set()
    own = addresses.plain(str(name[0]))
    return {own, "localhost"} if addresses.is_loopback(own) else {own}


def _host(text: str) -> str:
    """Return the name in a ``Host`` header, without its port, as URLs have it."""
    try:
        return addresses.plain((urllib.parse.urlsplit(f"//{text.strip()}").hostname or "").rstrip("."))
    except ValueError:
        return ""


def _is_foreign(request: web.Request, url: str, *, is_page: bool) -> bool:
    """Tell whether another site's page made the browser send *request*. Links to the page are harmless."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and origin.lower() not in {url, f"http://{request.headers.get(hdrs.HOST, '')}".lower()}:
        return True
    if request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}:
        return False
    is_link = request.method == hdrs.METH_GET and request.headers.get("Sec-Fetch-Mode") == "navigate"
    return not (is_page and is_link)
