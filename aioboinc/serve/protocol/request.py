"""The scheduler RPC's request: parses a client's bytes into typed values, or refuses them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aioboinc import models
from aioboinc.serve.protocol import claims, scanner
from aioboinc.serve.protocol.scanner import BadRequest, Element
from aioboinc.store import reports

__all__ = ["BadRequest", "Request", "parse", "peek_account_key"]

_MAX_TEXT = 254
"""Characters of a text column in BOINC's tables; more than a result's name has."""
_MAX_BLOB = 65_535
"""Bytes of a blob in BOINC's tables."""
_SECTIONS = {"host_info", "time_stats", "net_stats", "disk_usage"}
"""Elements whose children are values."""
_REFERENCE = re.compile(r"&(lt|gt|amp|quot|apos|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_KEY = re.compile(rb"<authenticator>\s{0,64}([^<>\s]{1,254})\s{0,64}</authenticator>")


Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for, and what it says about itself and its results."""

    account_key: str
    """The account's ``authenticator``."""
    hostid: int
    """The host's ID, 0 for a host that has none yet."""
    rpc_seqno: int
    """Number of the request, counted by the client."""
    platforms: Sequence[str]
    """The platforms whose app versions the client runs, the best first."""
    code_sign_key: str
    """The project's public key as the client knows it; empty before the first reply."""
    cpu_seconds: float
    """Seconds of work to send, over all cores; if 0 and ``cpu_instances`` is 0, none."""
    cpu_instances: float
    """Number of idle cores to send work for."""
    shares_machine: bool
    """Whether several clients run on the machine, each as its own host."""
    host_cpid: str
    """The host's name across all its projects."""
    host: Mapping[str, int | float | str]
    """What the host says about itself, by columns of the table ``host``."""
    disk_share: float
    """Bytes of disk that the project may use on the host."""
    ncpus_fraction: float
    """Part of its cores that the host's owner lets BOINC use."""
    memory_fraction: float
    """Part of its memory that the host's owner lets BOINC use."""
    reports: Sequence[reports.Report]
    """Results that are over."""
    in_progress: frozenset[str] | None
    """Names of the results that the host has; None if it does not say."""
    has_messages: bool
    """Whether there are messages from applications to the project."""


def peek_account_key(start: bytes) -> str:
    """Return the account key from the *start* of a request, empty if it is not there."""
    match = _KEY.search(start)
    return match[1].decode("utf-8", "replace") if match else ""


def parse(body: bytes, *, cut: bool = False) -> Request:
    """Read a request; *cut* says that it was longer. What is not read will come again. Raises `BadRequest`.

    Takes time in proportion to the length.
    """
    root = scanner.scan(body.decode("utf-8", "replace"), cut=cut)
    if root.name != "scheduler_request":
        raise BadRequest("no start tag")
    values = _values(root)
    wants_work = not _flag(values, "dont_send_work")
    others = next((child for child in root.children if child.name == "other_results"), None)
    preferences = values.get("working_global_preferences", "")
    return Request(
        account_key=_text(values, "authenticator"),
        hostid=_integer(values, "hostid"),
        rpc_seqno=_integer(values, "rpc_seqno"),
        platforms=_platforms(root, values),
        code_sign_key=_text(values, "code_sign_key", 4096),
        cpu_seconds=_number(values, "cpu_req_secs") if wants_work else 0.0,
        cpu_instances=_number(values, "cpu_req_instances") if wants_work else 0.0,
        shares_machine=_flag(values, "allow_multiple_clients"),
        host_cpid=_text(values, "host_info/host_cpid"),
        host=_host(values),
        disk_share=_number(values, "disk_usage/d_project_share"),
        ncpus_fraction=_fraction(preferences, "max_ncpus_pct"),
        memory_fraction=max(
            _fraction(preferences, "ram_max_used_busy_pct"), _fraction(preferences, "ram_max_used_idle_pct")
        ),
        reports=_reports(root),
        in_progress=None
        if others is None
        else frozenset(_text(_children(other), "name") for other in others.children),
        has_messages="msg_from_host" in values,
    )


def _values(root: Element) -> Values:
    """Return the texts of a request's elements by their names, those in sections as ``section/name``."""
    values: dict[str, str] = {}
    for child in root.children:
        values.setdefault(child.name, child.text)
        if child.name in _SECTIONS:
            for value in child.children:
                values.setdefault(f"{child.name}/{value.name}", value.text)
    return values


def _children(element: Element) -> Values:
    return {child.name: child.text for child in element.children}


def _platforms(root: Element, values: Values) -> Sequence[str]:
    others = (_text(_children(child), "name") for child in root.children if child.name == "alt_platform")
    return tuple(dict.fromkeys(filter(None, (_text(values, "platform_name"), *others))))


def _reports(root: Element) -> Sequence[reports.Report]:
    found = (_report(child) for child in root.children if child.name == "result")
    # A result that a client reports twice counts once.
    return tuple({report.name: report for report in found if report.name}.values())


def _report(result: Element) -> reports.Report:
    values = _children(result)
    return reports.Report(
        name=_text(values, "name"),
        client_state=_client_state(_integer(values, "state")),
        exit_status=_integer(values, "exit_status"),
        cpu_time=_number(values, "final_cpu_time"),
        elapsed_time=_number(values, "final_elapsed_time"),
        app_version_num=_integer(values, "app_version_num"),
        xml_doc_out=_clipped("".join(_file_info(child) for child in result.children if child.name == "file_info")),
        stderr_out=_clipped(values.get("stderr_out", "").strip()),
        peak_working_set_size=_number(values, "final_peak_working_set_size"),
        peak_swap_size=_number(values, "final_peak_swap_size"),
        peak_disk_usage=_number(values, "final_peak_disk_usage"),
    )


def _client_state(number: int) -> models.ClientState:
    try:
        return models.ClientState(number)
    except ValueError:
        return models.ClientState.COMPUTE_ERROR


def _file_info(element: Element) -> str:
    """Write a ``<file_info>`` as the client does."""
    values = _children(element)
    texts = ((name, _escaped(_text(values, name))) for name in _FILE_INFO)
    return f"<file_info>{''.join(f'<{name}>{text}</{name}>' for name, text in texts if text)}</file_info>"


def _clipped(text: str) -> str:
    """Return the end of *text*, as much as a blob can hold, without control characters."""
    data = _CONTROLS.sub("", text[-_MAX_BLOB:]).encode()
    return data[-_MAX_BLOB:].decode("utf-8", "ignore")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


_FILE_INFO = ("name", "nbytes", "max_nbytes", "md5_cksum", "upload_url")

# Columns of the table host, and the places of their values in a request.
_HOST_TEXTS = {
    "domain_name": "host_info/domain_name",
    "last_ip_addr": "host_info/ip_addr",
    "p_vendor": "host_info/p_vendor",
    "p_model": "host_info/p_model",
    "os_name": "host_info/os_name",
    "os_version": "host_info/os_version",
    "product_name": "host_info/product_name",
}
_HOST_INTEGERS = {"timezone": "host_info/timezone", "p_ncpus": "host_info/p_ncpus"}
_HOST_NUMBERS = {
    "p_fpops": "host_info/p_fpops",
    "p_iops": "host_info/p_iops",
    "p_membw": "host_info/p_membw",
    "m_nbytes": "host_info/m_nbytes",
    "m_cache": "host_info/m_cache",
    "m_swap": "host_info/m_swap",
    "d_total": "host_info/d_total",
    "d_free": "host_info/d_free",
    "d_boinc_used_total": "disk_usage/d_boinc_used_total",
    "d_boinc_used_project": "disk_usage/d_boinc_used_project",
    "d_boinc_max": "disk_usage/d_project_share",
    "n_bwup": "net_stats/bwup",
    "n_bwdown": "net_stats/bwdown",
    "on_frac": "time_stats/on_frac",
    "connected_frac": "time_stats/connected_frac",
    "active_frac": "time_stats/active_frac",
    "gpu_active_frac": "time_stats/gpu_active_frac",
    "duration_correction_factor": "duration_correction_factor",
}


def _host(values: Values) -> Mapping[str, int | float | str]:
    host: dict[str, int | float | str] = {column: _text(values, path) for column, path in _HOST_TEXTS.items()}
    host.update((column, _integer(values, path)) for column, path in _HOST_INTEGERS.items())
    host.update((column, _number(values, path)) for column, path in _HOST_NUMBERS.items())
    version = (_integer(values, f"core_client_{part}") for part in ("major_version", "minor_version", "release"))
    host["misc"] = f'{{"client_version": "{".".join(map(str, version))}"}}'
    return host


def _text(values: Values, name: str, limit: int = _MAX_TEXT) -> str:
    text = values.get(name, "").strip()
    if "&" in text:
        text = _REFERENCE.sub(_character, text)
    return _CONTROLS.sub("", text)[:limit]


def _character(reference: re.Match[str]) -> str:
    name = reference[1]
    if name in _NAMED:
        return _NAMED[name]
    code = int(name[2:], 16) if name[1] == "x" else int(name[1:])
    return chr(code)


def _integer(values: Values, path: str) -> int:
    return claims.integer(path.rpartition("/")[2], values.get(path))


def _number(values: Values, path: str) -> float:
    return claims.number(path.rpartition("/")[2], values.get(path))


def _flag(values: Values, name: str) -> bool:
    """Read a boolean as BOINC does: ``<name/>`` and any number but 0 are true."""
    return name in values and values[name].strip() != "0"


def _fraction(preferences: str, name: str) -> float:
    """Read a preference in percent; 1 if it is not there."""
    _, _, rest = preferences.partition(f"<{name}>")
    return claims.fraction(name, rest[:64].partition("<")[0])
