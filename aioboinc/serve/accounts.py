"""Lets clients make and find accounts, by BOINC's web RPCs.

A client never sends a password, but a hash of it and the e-mail address; we store a slow hash of that.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aioboinc.aio import threads
from aioboinc.serve import addresses, allowance
from aioboinc.serve.protocol import reply
from aioboinc.store import clients

__all__ = ["Accounts", "Policy", "Refusal"]

NOT_FOUND = -136
NOT_UNIQUE = -137
BAD_USER_NAME = -188
BAD_EMAIL_ADDRESS = -205
BAD_PASSWORD = -206
CREATION_DISABLED = -208
TRY_LATER = -1
"""Error numbers of BOINC's lib/error_numbers.h."""

_EMAIL = re.compile(r"[^@\s<>&\"',;]{1,64}@[^@\s<>&\"',;/]{1,120}")
_HASH = re.compile(r"[0-9a-f]{32}")
_MAX_NAME = 60
_MAX_NEW = 100
"""Accounts that an address may make in an hour."""
_MAX_QUESTIONS = 600
"""Passwords that an address may try in an hour."""
_HOUR = 3600.0
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1}


@dataclass(frozen=True)
class Policy:
    """The rules for accounts."""

    creation: bool = False
    """Whether anybody who reaches the project may make an account."""
    min_passwd_length: int = 6


class Refusal(Exception):
    """The request is refused; has number and text of BOINC's error."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number

    def render(self) -> str:
        """Return the reply's body."""
        return _document(
            f"<error>\n    <error_num>{self.number}</error_num>\n    <error_msg>{self}</error_msg>\n</error>\n"
        )


class Accounts:
    """The project's accounts."""

    def __init__(
        self,
        clients: clients.Clients,
        site: reply.Site,
        platforms: Sequence[str],
        policy: Policy,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clients = clients
        self._site = site
        self._platforms = platforms
        self._policy = policy
        self._clock = clock
        self._new = allowance.Allowance(_MAX_NEW, _HOUR, clock=clock)
        self._questions = allowance.Allowance(_MAX_QUESTIONS, _HOUR, clock=clock)
        # One hash at a time: guessing passwords must not keep the machine busy.
        self._hashing = asyncio.Lock()

    def config(self) -> str:
        """Answer ``get_project_config.php``."""
        platforms = "".join(
            f"        <platform>\n            <platform_name>{name}</platform_name>\n        </platform>\n"
            for name in self._platforms
        )
        disabled = "" if self._policy.creation else "    <account_creation_disabled/>\n"
        url = reply.escape(self._site.master_url)
        return _document(
            "<project_config>\n"
            f"    <name>{reply.escape(self._site.name)}</name>\n"
            f"    <master_url>{url}</master_url>\n"
            f"    <web_rpc_url_base>{url}</web_rpc_url_base>\n"
            "    <web_stopped>0</web_stopped>\n"
            f"{disabled}"
            f"    <min_passwd_length>{self._policy.min_passwd_length}</min_passwd_length>\n"
            "    <sched_stopped>0</sched_stopped>\n"
            f"    <platforms>\n{platforms}    </platforms>\n"
            "</project_config>\n"
        )

    async def look_up(self, query: Mapping[str, str], address: str) -> str:
        """Answer ``lookup_account.php`` to somebody at *address*. Raises `Refusal`."""
        self._allow(self._questions, address)
        account = await self._clients.account_by_email(query.get("email_addr", "").strip().lower())
        hash = query.get("passwd_hash", "")
        # The same work, whether the account exists or not.
        right = await self._verify(hash, account.passwd_hash if account else "")
        if account is None:
            raise Refusal(NOT_FOUND, "Not found")
        if not right:
            raise Refusal(BAD_PASSWORD, "Invalid password")
        return _account_out(account)

    async def create(self, query: Mapping[str, str], address: str) -> str:
        """Answer ``create_account.php``: make an account, or find the one with this password. Raises `Refusal`."""
        email_addr = query.get("email_addr", "").strip().lower()
        hash = query.get("passwd_hash", "")
        name = query.get("user_name", "").strip()
        if not self._policy.creation:
            raise Refusal(CREATION_DISABLED, "Account creation is disabled")
        if not name or len(name) > _MAX_NAME or not name.isprintable() or re.search(r"[<>&\"']", name):
            raise Refusal(BAD_USER_NAME, "Invalid user name")
        if not _EMAIL.fullmatch(email_addr) or not email_addr.isascii():
            raise Refusal(BAD_EMAIL_ADDRESS, "Email address has invalid syntax")
        if not _HASH.fullmatch(hash):
            raise Refusal(-1, "password hash length not 32")
        self._allow(self._questions, address)
        account = await self._clients.account_by_email(email_addr)
        if account is not None:
            if not await self._verify(hash, account.passwd_hash):
                raise Refusal(NOT_UNIQUE, "Name or email address is not unique")
            return _account_out(account)
        self._allow(self._new, address)
        async with self._hashing:
            stored = await threads.in_thread(_slow_hash, hash, secrets.token_bytes(16))
        created = await self._clients.create_account(name, email_addr, stored, now=int(self._clock()))
        if created is None:
            raise Refusal(NOT_UNIQUE, "Name or email address is not unique")
        return _account_out(created)

    def _allow(self, allowance: allowance.Allowance, address: str) -> None:
        if allowance.take(addresses.network(address)):
            raise Refusal(TRY_LATER, "Too many requests from this address; try again in an hour")

    async def _verify(self, hash: str, stored: str) -> bool:
        """Tell whether *stored* was made from *hash*; nothing fits an account without a password."""
        kind, _, salt = stored.partition("$")
        salt = salt.partition("$")[0]
        usable = kind == "scrypt" and bool(_HASH.fullmatch(hash))
        async with self._hashing:
            computed = await threads.in_thread(_slow_hash, hash, bytes.fromhex(salt) if usable else bytes(16))
        return usable and hmac.compare_digest(computed, stored)


def _slow_hash(hash: str, salt: bytes) -> str:
    return f"scrypt${salt.hex()}${hashlib.scrypt(hash.encode(), salt=salt, **_SCRYPT, dklen=32).hex()}"


def _account_out(account: clients.Account) -> str:
    return _document(f"<account_out>\n    <authenticator>{account.key}</authenticator>\n</account_out>\n")


def _document(text: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8" ?>\n{text}'
