"""The scheduler RPC's reply: the scheduler's decisions, as the text that clients read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from aioboinc.store import clients, dispatch

__all__ = ["App", "AppVersion", "Message", "Reply", "Site", "escape", "render"]

_VERSION = 803
"""Version of the BOINC scheduler that this one resembles."""


@dataclass(frozen=True, slots=True)
class Site:
    """The project as its hosts see it."""

    name: str
    master_url: str
    """Ends with a slash."""


@dataclass(frozen=True, slots=True)
class App:
    """The application."""

    name: str
    friendly_name: str


@dataclass(frozen=True, slots=True)
class AppVersion:
    """The application's version for a platform."""

    id: int
    platform: str
    version_num: int
    xml_doc: str


@dataclass(frozen=True, slots=True)
class Message:
    """A line for the client's event log."""

    text: str
    notice: bool = False
    """Whether it is for the host's owner too."""


@dataclass(slots=True)
class Reply:
    """The reply to a client; filled step by step."""

    request_delay: float = 0.0
    """Seconds until the client may call again."""
    next_rpc_delay: float = 0.0
    """Seconds until the client calls again in any case; 0: when it wants."""
    messages: list[Message] = field(default_factory=list)
    account: clients.Account | None = None
    """Whose host it is; None: the request was refused."""
    host: clients.Host | None = None
    """The host, unless it is new."""
    new_hostid: int = 0
    """The ID that the client must use from now on; 0: as before."""
    now: int = 0
    code_sign_key: str = ""
    """The key to check application files with; empty if the client has it."""
    code_sign_key_signature: str = ""
    """The key's signature by the key that the client has."""
    acknowledged: Sequence[str] = ()
    """Results that the client can forget."""
    aborts: Sequence[str] = ()
    """Results that the client must abort."""
    aborts_if_not_started: Sequence[str] = ()
    app: App | None = None
    version: AppVersion | None = None
    """The version that the assignments are for."""
    flops: float = 0.0
    """Expected floating-point operations a second on one core of the host."""
    assignments: Sequence[dispatch.Assignment] = ()
    message_ack: bool = False
    """Messages of applications have arrived."""
    project_is_down: bool = False
    """Whether the client should call again later, and keep what it has."""


def render(reply: Reply, site: Site) -> bytes:
    """Return the reply's body."""
    parts = [
        "<scheduler_reply>\n",
        f"<scheduler_version>{_VERSION}</scheduler_version>\n",
        "<dont_use_dcf/>\n",
        f"<master_url>{escape(site.master_url)}</master_url>\n",
        f"<request_delay>{reply.request_delay:f}</request_delay>\n",
    ]
    for message in reply.messages:
        priority = "notice" if message.notice else "low"
        parts.append(f'<message priority="{priority}">{escape(message.text)}</message>\n')
    parts.append(f"<project_name>{escape(site.name)}</project_name>\n")
    if reply.project_is_down:
        parts.append("<project_is_down/>\n")
    if reply.account is not None:
        if reply.next_rpc_delay:
            parts.append(f"<next_rpc_delay>{reply.next_rpc_delay:f}</next_rpc_delay>\n")
        parts.append(_account(reply.account))
        parts.append(_host(reply))
        parts += _names("result_ack", reply.acknowledged)
        parts += _names("result_abort", reply.aborts)
        parts += _names("result_abort_if_not_started", reply.aborts_if_not_started)
        parts += _work(reply)
        parts.append(_keys(reply))
        if reply.message_ack:
            parts.append("<message_ack/>\n")
        parts.append(_gui_urls(site))
    parts.append("</scheduler_reply>\n")
    return "".join(parts).encode("utf-8")


def escape(text: str) -> str:
    """Return *text* as content of an element."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _account(account: clients.Account) -> str:
    email_hash = hashlib.md5(account.email_addr.encode(), usedforsecurity=False).hexdigest()
    external = f"{account.cross_project_id}{account.email_addr}".encode()
    external_cpid = hashlib.md5(external, usedforsecurity=False).hexdigest()
    return (
        f"<userid>{account.id}</userid>\n"
        f"<user_name>{escape(account.name)}</user_name>\n"
        f"<user_total_credit>{account.total_credit:f}</user_total_credit>\n"
        f"<user_expavg_credit>{account.expavg_credit:f}</user_expavg_credit>\n"
        f"<user_create_time>{account.create_time}</user_create_time>\n"
        f"<email_hash>{email_hash}</email_hash>\n"
        f"<cross_project_id>{escape(account.cross_project_id)}</cross_project_id>\n"
        f"<external_cpid>{external_cpid}</external_cpid>\n"
    )


def _host(reply: Reply) -> str:
    host = reply.host
    new = f"<hostid>{reply.new_hostid}</hostid>\n" if reply.new_hostid else ""
    return (
        f"{new}"
        f"<host_total_credit>{host.total_credit if host else 0:f}</host_total_credit>\n"
        f"<host_expavg_credit>{host.expavg_credit if host else 0:f}</host_expavg_credit>\n"
        "<host_venue></host_venue>\n"
        f"<host_create_time>{host.create_time if host else reply.now}</host_create_time>\n"
        "<team_name></team_name>\n"
    )


def _names(tag: str, names: Sequence[str]) -> list[str]:
    return [f"<{tag}>\n    <name>{escape(name)}</name>\n</{tag}>\n" for name in names]


def _work(reply: Reply) -> list[str]:
    if not reply.assignments:
        return []
    app, version = reply.app, reply.version
    assert app is not None
    assert version is not None
    parts = [
        "<app>\n"
        f"    <name>{escape(app.name)}</name>\n"
        f"    <user_friendly_name>{escape(app.friendly_name)}</user_friendly_name>\n"
        "    <non_cpu_intensive>0</non_cpu_intensive>\n"
        "    <fraction_done_exact>0</fraction_done_exact>\n"
        "</app>\n",
        version.xml_doc.partition("</app_version>")[0],
        f"    <platform>{version.platform}</platform>\n"
        "    <avg_ncpus>1.000000</avg_ncpus>\n"
        f"    <flops>{reply.flops:f}</flops>\n"
        "</app_version>\n",
    ]
    parts += [_workunit(assignment, app) for assignment in reply.assignments]
    parts += [_result(assignment, version) for assignment in reply.assignments]
    return parts


def _workunit(assignment: dispatch.Assignment, app: App) -> str:
    start, tag, rest = assignment.xml_doc.partition("<workunit>\n")
    return (
        f"{start}{tag}"
        f"    <rsc_fpops_est>{assignment.rsc_fpops_est:f}</rsc_fpops_est>\n"
        f"    <rsc_fpops_bound>{assignment.rsc_fpops_bound:f}</rsc_fpops_bound>\n"
        f"    <rsc_memory_bound>{assignment.rsc_memory_bound:f}</rsc_memory_bound>\n"
        f"    <rsc_disk_bound>{assignment.rsc_disk_bound:f}</rsc_disk_bound>\n"
        f"    <name>{assignment.workunit_name}</name>\n"
        f"    <app_name>{app.name}</app_name>\n"
        f"{rest}\n"
    )


def _result(assignment: dispatch.Assignment, version: AppVersion) -> str:
    start, tag, rest = assignment.xml_doc_in.partition("<result>\n")
    return (
        f"{start}{tag}"
        f"<report_deadline>{assignment.report_deadline}</report_deadline>\n"
        f"<wu_name>{assignment.workunit_name}</wu_name>\n"
        f"<name>{assignment.name}</name>\n"
        f"{rest.partition('</result>')[0]}\n"
        f"    <platform>{version.platform}</platform>\n"
        f"    <version_num>{version.version_num}</version_num>\n"
        "    <plan_class></plan_class>\n"
        "</result>\n"
    )


def _keys(reply: Reply) -> str:
    key = f"<code_sign_key>\n{reply.code_sign_key}\n</code_sign_key>\n" if reply.code_sign_key else ""
    signature = reply.code_sign_key_signature
    if signature:
        key += f"<code_sign_key_signature>\n{signature}\n</code_sign_key_signature>\n"
    return key


def _gui_urls(site: Site) -> str:
    return (
        "<gui_urls>\n"
        "    <gui_url>\n"
        "        <name>Project status</name>\n"
        "        <description>Batches, hosts and recent errors</description>\n"
        f"        <url>{escape(site.master_url)}</url>\n"
        "    </gui_url>\n"
        "</gui_urls>\n"
    )
