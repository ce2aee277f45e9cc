"""Where the server listens, and the URL by which hosts know its project."""

from __future__ import annotations

import re
import socket
import urllib.parse
from dataclasses import dataclass

from aioboinc import errors

__all__ = ["DEFAULT", "Address", "checked_url", "master_url"]

DEFAULT = "127.0.0.1:8416"


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


def master_url(address: Address, url: str | None) -> str:
    """Return the master URL of a project that is served at *address*. Raises `errors.UsageError`."""
    if url is None and address.host in {"0.0.0.0", "::"}:
        raise errors.UsageError(
            f"--listen {address}: give --url too, the address by which hosts reach this machine: "
            f"http://lab.example.org:{address.port}/"
        )
    return checked_url(url or f"http://{address}/")


def checked_url(url: str) -> str:
    """Return a master URL in the form that clients use. Raises `errors.UsageError` for one that they refuse."""
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
