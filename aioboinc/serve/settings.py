"""The settings of config.xml for serving."""

from __future__ import annotations

import xml.etree.ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aioboinc import errors
from aioboinc.serve import accounts, addresses, listening, scheduler

__all__ = ["Settings", "elements", "read"]


@dataclass(frozen=True)
class Settings:
    """The configuration of serving."""

    listen: listening.Address
    scheduling: scheduler.Policy
    accounts: accounts.Policy


def read(root: Path, *, listen: str | None = None, open_accounts: bool = False) -> Settings:
    """Read the configuration of serving; *listen* and *open_accounts* override it for this run.

    Blocks. Raises `errors.ProjectError`.
    """
    values = elements(root)
    default = scheduler.Policy()
    address = listening.Address.parse(listen or values.get("listen") or listening.DEFAULT)

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
        # A project of 0.1.0: anybody who reached it could make accounts; on this machine alone, nobody needs that.
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


def elements(root: Path) -> Mapping[str, str]:
    """Return the elements of ``<config>`` with their texts. Blocks."""
    config = xml.etree.ElementTree.parse(root / "config.xml").find("config")
    return {} if config is None else {element.tag: (element.text or "").strip() for element in config}
