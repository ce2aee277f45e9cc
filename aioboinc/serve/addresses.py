"""Addresses that requests come from and go to."""

from __future__ import annotations

import ipaddress

from aiohttp import web

__all__ = ["is_loopback", "network", "of", "plain"]


def of(request: web.Request) -> str:
    """Return the address that a request comes from; if a proxy on this machine sent it, the one the proxy names."""
    remote = request.remote or ""
    if is_loopback(remote):
        *_, last = request.headers.get("X-Forwarded-For", "").split(",")
        try:
            return str(ipaddress.ip_address(last.strip().strip("[]")))
        except ValueError:
            pass
    return remote


def plain(text: str) -> str:
    """Return an IP address in its usual form, without a zone; any other name as it is."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def network(address: str) -> str:
    """Return what counts as one address: for IPv6, the 64 bits assigned to a site, not those it chooses."""
    text = plain(address)
    return str(ipaddress.ip_network(f"{text}/64", strict=False)) if ":" in text else text


def is_loopback(text: str) -> bool:
    """Tell whether an address is one of the machine itself."""
    try:
        return ipaddress.ip_address(plain(text)).is_loopback
    except ValueError:
        return False
