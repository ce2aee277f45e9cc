"""The scheduler RPC: what is read from requests, what is written in replies, and what is chosen."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
import xml.etree.ElementTree
from collections.abc import Sequence
from pathlib import Path

import pytest

from aioboinc import models
from aioboinc.project import keys
from aioboinc.serve import (
    addresses,
    allowance,
    durations,
    key_files,
    reluctance,
    served_project,
    settings,
    wishes,
)
from aioboinc.serve.protocol import claims, scanner
from aioboinc.serve.protocol import reply as scheduler_reply
from aioboinc.serve.protocol import request as scheduler_request
from aioboinc.store import candidates, clients, dispatch

REQUEST = (Path(__file__).parents[1] / "data" / "scheduler_request.xml").read_bytes()
"""A request of the stock client 7.20.5, which asks for work and reports three results."""


def changed(old: str, new: str, request: bytes = REQUEST) -> bytes:
    assert old.encode() in request
    return request.replace(old.encode(), new.encode(), 1)


def test_a_request_of_the_stock_client() -> None:
    request = scheduler_request.parse(REQUEST)
    assert request.account_key == "a7fde1787c68836fa0adc2bdfd9fbf7f"
    assert (request.hostid, request.rpc_seqno) == (1, 8)
    assert request.platforms == ("x86_64-pc-linux-gnu",)
    assert request.code_sign_key.startswith("1024\nc602f152")
    assert request.code_sign_key.endswith("10001\n.")
    assert (request.cpu_seconds, request.cpu_instances) == (3454.999986, 1.0)
    assert not request.shares_machine
    assert request.host_cpid == "1f52ba5b281f2cec579c8a4a1f4b8bb1"
    assert request.host["p_ncpus"] == 2
    assert request.host["p_vendor"] == "AuthenticAMD"
    assert request.host["p_fpops"] == 1e9
    assert request.host["m_nbytes"] == 25276510208.0
    assert request.host["on_frac"] == 0.999986
    assert request.host["n_bwup"] == 402380.153948
    assert request.host["d_boinc_max"] == request.disk_share == 23622320128.0
    assert request.host["misc"] == '{"client_version": "7.20.5"}'
    assert (request.ncpus_fraction, request.memory_fraction) == (1.0, 0.9)
    assert request.in_progress == frozenset({"nofinish_job_1"})
    assert not request.has_messages


def test_reports() -> None:
    aborted, good, failed = scheduler_request.parse(REQUEST).reports
    assert (aborted.name, aborted.client_state, aborted.exit_status) == (
        "nofinish_job_1",
        models.ClientState.ABORTED,
        203,
    )
    assert aborted.outcome == models.Outcome.CLIENT_ERROR
    assert aborted.stderr_out.startswith("<core_client_version>7.20.5</core_client_version>\n<![CDATA[\n<message>")
    assert aborted.stderr_out.endswith("</stderr_txt>\n]]>")
    assert good.outcome == models.Outcome.SUCCESS
    assert (good.elapsed_time, good.peak_working_set_size, good.app_version_num) == (7.036907, 12132352.0, 101)
    assert good.xml_doc_out == (
        "<file_info><name>second_job_0_r1935915990_0</name><nbytes>9.000000</nbytes>"
        "<max_nbytes>5000000.000000</max_nbytes><md5_cksum>fb3a832d7b7439c3e95013e86ce93cf3</md5_cksum>"
        "<upload_url>http://127.0.0.1/demo_cgi/file_upload_handler</upload_url></file_info>"
    )
    assert (failed.exit_status, failed.outcome) == (3, models.Outcome.CLIENT_ERROR)


@pytest.mark.parametrize(
    "said",
    [
        "</stderr_out>",
        "<b>&unknown; & </b>",
        "]]>",
        "</result></scheduler_request>",
        "\x00\x1b[31m\x7f",
        "\udcff",
        "\N{GRINNING FACE}",
        "]]></stderr_out>",
    ],
)
def test_a_program_may_say_what_it_likes(said: str) -> None:
    body = REQUEST.replace(b"nonzero exit", said.encode("utf-8", "surrogateescape"))
    *_, failed = scheduler_request.parse(body).reports
    assert failed.name == "rtw_job_2"
    visible = said.replace("\x00", "").replace("\x1b", "").replace("\udcff", "\N{REPLACEMENT CHARACTER}")
    assert f"<stderr_txt>\n{visible}\n" in failed.stderr_out


def test_long_output_keeps_its_end() -> None:
    *_, failed = scheduler_request.parse(changed("nonzero exit", "é" * 100_000 + "the end")).reports
    assert len(failed.stderr_out.encode()) <= 65_535
    assert "the end\n\n</stderr_txt>" in failed.stderr_out


def test_what_is_missing_or_odd() -> None:
    request = scheduler_request.parse(b"<scheduler_request>\n</scheduler_request>\n")
    assert (request.account_key, request.hostid, request.platforms, request.reports) == ("", 0, (), ())
    assert request.in_progress is None
    assert request.host["p_ncpus"] == 1
    assert (request.ncpus_fraction, request.memory_fraction) == (1.0, 1.0)
    body = changed("<p_fpops>1000000000.000000", "<p_fpops>inf")
    body = changed("<rpc_seqno>8", "<rpc_seqno>1e300", body)
    body = changed("<max_ncpus_pct>100.000000", "<max_ncpus_pct>-5", body)
    body = changed("<state>5", "<state>99", body)
    body = changed("<dont_send_work>0", "<dont_send_work>1", body)
    body = changed("<domain_name>vm", "<domain_name>" + "x" * 1000, body)
    request = scheduler_request.parse(body)
    assert request.host["p_fpops"] == 1e9
    assert request.rpc_seqno == 2**31 - 1
    assert request.ncpus_fraction == 1
    assert request.reports[1].client_state == models.ClientState.COMPUTE_ERROR
    assert request.cpu_seconds == request.cpu_instances == 0
    assert request.host["domain_name"] == "x" * 254


def test_a_result_that_is_reported_twice_counts_once() -> None:
    body = changed("<name>second_job_0<", "<name>rtw_job_2<")
    assert [report.name for report in scheduler_request.parse(body).reports] == ["nofinish_job_1", "rtw_job_2"]


def test_other_platforms() -> None:
    platforms = "".join(
        f"<alt_platform><name>{name}</name></alt_platform>" for name in ("b", "x86_64-pc-linux-gnu", "c")
    )
    body = changed("<code_sign_key>", f"{platforms}<code_sign_key>")
    assert scheduler_request.parse(body).platforms == ("x86_64-pc-linux-gnu", "b", "c")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not well-formed"),
        (b"<scheduler_request>", "not well-formed"),
        (b"<html></html>", "no start tag"),
        (b"<scheduler_request><result><stderr_out>x</result></scheduler_request>", "no end tag of stderr_out"),
        (b"<!DOCTYPE a><scheduler_request></scheduler_request>", "not allowed"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><scheduler_request>&b;</scheduler_request>', "not allowed"),
        (b"<scheduler_request>" + b"<a>" * 100, "too deep"),
        (b"<scheduler_request><a></b></scheduler_request>", "ends nothing"),
        (b"<scheduler_request><a></scheduler_request>", "ends nothing"),
        (b"</scheduler_request>", "ends nothing"),
        (REQUEST[:-30], "no end"),
    ],
)
def test_what_is_no_request(body: bytes, reason: str) -> None:
    with pytest.raises(scheduler_request.BadRequest, match=reason):
        scheduler_request.parse(body)


def test_the_account_key_is_at_the_start() -> None:
    assert scheduler_request.peek_account_key(REQUEST[:200]) == "a7fde1787c68836fa0adc2bdfd9fbf7f"
    assert scheduler_request.peek_account_key(b"<scheduler_request><authenticator>") == ""


SITE = scheduler_reply.Site("Anna & Bert's <project>", "http://lab.example.org/")
ACCOUNT = clients.Account(3, 1_700_000_000, "anna@example.org", "Anna <3", "0" * 32, 12.5, 1.25, "1" * 32, "")


VERSION = """\
<file_info>
    <name>app</name>
</file_info>
<app_version>
    <app_name>pyboinc</app_name>
</app_version>
"""
WORKUNIT = """\
<file_info>
    <name>in</name>
</file_info>
<workunit>
<command_line>
-n 3
</command_line>
</workunit>"""
RESULT = """\
<file_info>
    <name>out</name>
    <url>http://lab.example.org/file_upload_handler</url>
</file_info>
<result>
    <file_ref>
        <file_name>out</file_name>
        <open_name>pyboinc_output</open_name>
    </file_ref>
</result>"""


def reply_tree(reply: scheduler_reply.Reply) -> xml.etree.ElementTree.Element:
    return xml.etree.ElementTree.fromstring(scheduler_reply.render(reply, SITE))


def test_a_refusal_tells_nothing() -> None:
    refused = scheduler_reply.Reply(
        request_delay=3600, messages=[scheduler_reply.Message("Go <away>", notice=True)], acknowledged=["x"]
    )
    root = reply_tree(refused)
    assert [element.tag for element in root] == [
        "scheduler_version",
        "dont_use_dcf",
        "master_url",
        "request_delay",
        "message",
        "project_name",
    ]
    message = root.find("message")
    assert message is not None
    assert (message.get("priority"), message.text) == ("notice", "Go <away>")
    assert root.findtext("project_name") == SITE.name


def test_a_reply_with_work() -> None:
    assignment = dispatch.Assignment(
        name="pyboinc_1_0_0",
        batch=1,
        xml_doc_in=RESULT,
        workunit_name="pyboinc_1_0",
        xml_doc=WORKUNIT,
        rsc_fpops_est=1e12,
        rsc_fpops_bound=1e15,
        rsc_memory_bound=1e8,
        rsc_disk_bound=1e9,
        report_deadline=1_800_000_000,
    )
    reply = scheduler_reply.Reply(
        account=ACCOUNT,
        new_hostid=7,
        now=1_750_000_000,
        next_rpc_delay=30,
        code_sign_key="1024\n00\n.",
        acknowledged=["a", "b"],
        aborts=["c"],
        aborts_if_not_started=["d"],
        app=scheduler_reply.App("pyboinc", "Python programs"),
        version=scheduler_reply.AppVersion(5, "x86_64-pc-linux-gnu", 101, VERSION),
        flops=2e9,
        assignments=[assignment],
        message_ack=True,
    )
    root = reply_tree(reply)
    assert root.findtext("hostid") == "7"
    assert root.findtext("user_name") == "Anna <3"
    assert root.findtext("email_hash") == hashlib.md5(b"anna@example.org").hexdigest()
    assert root.findtext("next_rpc_delay") == "30.000000"
    assert [element.findtext("name") for element in root.iterfind("result_ack")] == ["a", "b"]
    assert root.findtext("result_abort/name") == "c"
    assert root.findtext("result_abort_if_not_started/name") == "d"
    assert root.findtext("app/name") == "pyboinc"
    assert root.findtext("app_version/platform") == "x86_64-pc-linux-gnu"
    assert root.findtext("app_version/flops") == "2000000000.000000"
    assert root.findtext("workunit/name") == "pyboinc_1_0"
    assert root.findtext("workunit/app_name") == "pyboinc"
    assert root.findtext("workunit/rsc_fpops_est") == "1000000000000.000000"
    assert root.findtext("workunit/command_line") == "\n-n 3\n"
    assert root.findtext("result/wu_name") == "pyboinc_1_0"
    assert root.findtext("result/name") == "pyboinc_1_0_0"
    assert root.findtext("result/report_deadline") == "1800000000"
    assert root.findtext("result/file_ref/open_name") == "pyboinc_output"
    assert root.findtext("result/version_num") == "101"
    assert [info.findtext("name") for info in root.iterfind("file_info")] == ["app", "in", "out"]
    assert root.findtext("code_sign_key") == "\n1024\n00\n.\n"
    assert root.find("message_ack") is not None


class Valid:
    """A store that has the valid results *rows*: host, seconds, operations a second."""

    def __init__(self, *rows: tuple[int, float, float]) -> None:
        self.rows = rows
        self.asked = 0

    async def durations(self, batch: int, limit: int) -> Sequence[tuple[int, float, float]]:
        self.asked += 1
        return self.rows


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def learning(*rows: tuple[int, float, float], clock: Clock | None = None) -> durations.Durations:
    return durations.Durations(Valid(*rows), clock or Clock())  # type: ignore[arg-type]


def offered(*batches: int, estimate: float = 100e9, delay_bound: int = 86400) -> list[candidates.Candidate]:
    return [
        candidates.Candidate(number, number, batch, estimate, delay_bound) for number, batch in enumerate(batches)
    ]


def test_choosing_by_estimates() -> None:
    sizes = learning().on(7, 1e9)
    offer = offered(*[1] * 10)
    for seconds, instances, expected in (
        (0, 0, 0),
        (1, 0, 1),
        (100, 0, 1),
        (101, 0, 2),
        (0, 3, 3),
        (250, 1, 3),
        (1e9, 0, 10),
    ):
        wish = wishes.Wish(seconds, instances, 1e9)
        chosen, fulfilled = wishes.choose(offer, wish, sizes)
        assert (len(chosen), fulfilled) == (expected, seconds < 1e9), (seconds, instances)
    late = offered(1, 1, delay_bound=50)
    assert wishes.choose(late + offer, wishes.Wish(1, 0, 1e9), sizes) == (offer[:1], True)
    assert wishes.choose(late, wishes.Wish(1, 0, 1e9), sizes, lambda batch: batch == 1) == (late[:1], True)


def test_choosing_by_what_the_host_has_done() -> None:
    known = learning()
    for _ in range(3):
        known.add(1, 7, 10.0)
    wish = wishes.Wish(100, 0, 1e9)
    assert len(wishes.choose(offered(*[1] * 10), wish, known.on(7, 2e9))[0]) == 5  # of 20 seconds each
    assert len(wishes.choose(offered(*[2] * 10), wish, known.on(7, 2e9))[0]) == 1
    # What it says of itself is for itself.
    assert len(wishes.choose(offered(*[1] * 10), wish, known.on(8, 2e9))[0]) == 1
    # No job takes less than a client's second.
    known.add(3, 7, 0.0)
    assert known.on(7, 1e9).operations(3, 1.0) == 1e9


async def test_hosts_with_valid_results_have_one_vote_each() -> None:
    honest = [(host, 10.0, 1e9) for host in (1, 2, 3)]
    for liars, expected in (
        ([], 1e10),
        ([(4, 1e5, 1e308)] * 300, 1e10),
        ([(4, 0.001, 1e7)] * 300 + [(5, 0.001, float("nan"))] * 300, 1e10),
    ):
        known = learning(*liars, *honest)
        await known.learn([1])
        assert known.on(9, 1e9).operations(1, 3600e9) == expected
    for few in ([], honest[:2], [(4, 1e5, 1e308)] * 300):
        known = learning(*few)
        await known.learn([1])
        assert known.on(9, 1e9).operations(1, 3600e9) == 3600e9
    # A host that has results is believed for itself, after a restart too.
    assert known.on(4, 1e9).operations(1, 3600e9) == pytest.approx(1e14)


async def test_valid_results_are_looked_at_once_a_minute() -> None:
    clock = Clock()
    store = Valid()
    known = durations.Durations(store, clock)  # type: ignore[arg-type]
    for _ in range(3):
        await known.learn([1])
    assert store.asked == 1
    clock.now += 60
    await known.learn([1])
    assert store.asked == 2


def test_jobs_that_nobody_gets_are_sent_to_somebody() -> None:
    clock = Clock()
    too_long = reluctance.Reluctance(clock)
    assert not too_long.is_over(1)
    clock.now += reluctance.PATIENCE - 1
    assert not too_long.is_over(1)
    assert not too_long.batches
    clock.now += 1
    assert too_long.is_over(1)
    assert too_long.is_over(1)
    assert not too_long.is_over(2)
    assert too_long.batches == {1}
    too_long.clear([1])  # a faster host has come
    assert not too_long.is_over(1)
    clock.now += 1e5
    assert not too_long.is_over(2)
    assert not too_long.batches


def test_code_signing_keys_that_have_changed(tmp_path: Path) -> None:
    root = tmp_path / "project"
    project = served_project.create(root, listen="127.0.0.1:8416", url=None, database=None)
    keys.create_code_sign_keys(project.key_dir)
    (project.key_dir / "old_key_0").write_text("1024\n00\n.\n")
    (project.key_dir / "signature_stripped_0").write_text("ab\n.\n")
    (project.key_dir / "old_key_1").write_text("1024\n01\n.\n")
    read = key_files.code_sign_keys(project)
    assert read.current == (project.key_dir / "code_sign_public").read_text().strip()
    assert read.signatures == {"1024\n00\n.": "ab\n."}


FILLERS = {
    "brackets in a report": "<result><stderr_out><![CDATA[{]}</stderr_out></result>",
    "brackets": "<p_model>{]}</p_model>",
    "line ends": "<p_model>{\n}</p_model>",
    "ampersands": "<p_model>{&}</p_model>",
    "CDATA without an end": "{<stderr_out><![CDATA[</stderr_out>}",
    "CDATA without its tag": "<stderr_out><![CDATA[{]]>\n</stderr_ou}</stderr_out>",
    "tags that begin": "{<}",
    "tags with a name": "{<a }",
    "elements": "{<a/>}",
    "reports": "{<result><name>a</name></result>}",
    "file infos": "<result>{<file_info><name>a</name></file_info>}</result>",
    "platforms": "{<alt_platform><name>a</name></alt_platform>}",
    "account keys": "{<authenticator>}",
}
"""What is repeated, in braces, and what it stands in."""


@pytest.mark.parametrize("name", FILLERS)
def test_reading_takes_time_in_proportion(name: str) -> None:
    def seconds(size: int) -> float:
        before, filler, after = re.split("[{}]", FILLERS[name])
        repeated = filler * (size // len(filler))
        body = f"<scheduler_request>{before}{repeated}{after}</scheduler_request>".encode()
        start = time.process_time()
        scheduler_request.peek_account_key(body)
        with contextlib.suppress(scheduler_request.BadRequest):
            scheduler_request.parse(body)
        return time.process_time() - start

    base = 1 << 17
    once = min(seconds(base) for _ in range(3))
    # Sixteen times as long takes 256 times as much if it is quadratic.
    assert seconds(16 * base) < 64 * max(once, 0.002)


def test_a_request_over_a_limit_is_read_as_far_as_it_is_whole() -> None:
    report = "<result><name>r{}</name><exit_status>0</exit_status><state>5</state></result>"
    reports = "".join(map(report.format, range(scanner.MAX_REPORTS + 5)))
    tail = "<other_results><other_result><name>x</name></other_result></other_results></scheduler_request>"
    body = f"<scheduler_request><hostid>3</hostid>{reports}{tail}".encode()
    request = scheduler_request.parse(body)
    assert request.hostid == 3
    assert [report.name for report in request.reports] == [f"r{n}" for n in range(scanner.MAX_REPORTS)]
    assert request.in_progress is None  # not read: nothing is lost
    for end in (len(body) // 2, body.index(b"r7<") + 1, body.index(b"<name>r7") + 3):
        cut = scheduler_request.parse(body[:end], cut=True)
        names = [report.name for report in cut.reports]
        assert names == [f"r{n}" for n in range(len(names))]
        assert all(report.exit_status == 0 and report.client_state == 5 for report in cut.reports)
    raw = REQUEST[: REQUEST.index(b"nonzero exit")]
    assert [report.name for report in scheduler_request.parse(raw, cut=True).reports] == [
        "nofinish_job_1",
        "second_job_0",
    ]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "1e308", str(2**63), "text", "", "-0.0", "1_0", "١"])
def test_every_number_is_within_its_range(text: str) -> None:
    for name in claims._RANGES:
        value = claims.number(name, text)
        assert claims._RANGES[name].low <= value <= claims._RANGES[name].high, name
        assert claims.integer(name, text) == int(value)
    assert claims.MIN_FLOPS <= claims.flops(float("nan")) <= claims.MAX_FLOPS


def test_the_usual_numbers_are_left_as_they_are() -> None:
    for name, text in (
        ("p_fpops", "5.3e9"),
        ("p_ncpus", "256"),
        ("m_nbytes", "25276510208.000000"),
        ("exit_status", "-1073741819"),
        ("connected_frac", "-1.000000"),
        ("final_elapsed_time", "0.125"),
    ):
        assert claims.number(name, text) == float(text)


def test_an_allowance_comes_back() -> None:
    clock = Clock()
    new = allowance.Allowance(3, 60, clock=clock)
    assert [new.take("a", "x") for _ in range(3)] == [0, 0, 0]
    assert new.take("a", "y") == pytest.approx(20)
    assert new.take("b", "y") == 0  # nothing was taken of it
    assert new.take("b", "x") == pytest.approx(20)
    clock.now += 20
    assert new.take("a", "x") == 0
    assert new.take("a") > 0
    clock.now += 1e6
    assert new.used("a") == 0


def test_allowances_are_forgotten_when_they_are_whole_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "_MAX_NAMES", 10)
    clock = Clock()
    new = allowance.Allowance(1, 1, clock=clock)
    for number in range(1000):
        new.take(str(number))
        clock.now += 0.5
    assert len(new._used) < 20


def test_addresses() -> None:
    assert addresses.network("2001:db8:1:2:3:4:5:6") == addresses.network("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert addresses.network("::ffff:10.0.0.1") == addresses.network("10.0.0.1") == "10.0.0.1"
    assert addresses.is_loopback("::1")
    assert addresses.is_loopback("127.8.9.1")
    assert not addresses.is_loopback("10.0.0.1")


@pytest.mark.parametrize(
    ("config", "listen", "asked", "expected"),
    [
        ("<open_accounts>0</open_accounts>", None, False, False),
        ("<open_accounts>0</open_accounts>", None, True, True),
        ("<open_accounts>1</open_accounts>", None, False, True),
        ("<open_accounts>0</open_accounts>", "0.0.0.0:8416", False, False),
        # Projects of 0.1.0.
        ("<disable_account_creation>0</disable_account_creation>", None, False, False),
        ("<disable_account_creation>0</disable_account_creation>", "0.0.0.0:8416", False, True),
        ("<disable_account_creation>1</disable_account_creation>", "0.0.0.0:8416", False, False),
        ("<disable_account_creation>1</disable_account_creation>", None, True, True),
    ],
)
def test_who_may_make_an_account(
    tmp_path: Path, config: str, listen: str | None, asked: bool, expected: bool
) -> None:
    root = tmp_path / "project"
    served_project.create(root, listen="127.0.0.1:8416", url=None, database=None)
    text = (root / "config.xml").read_text()
    (root / "config.xml").write_text(text.replace("<open_accounts>0</open_accounts>", config))
    assert settings.read(root, listen=listen, open_accounts=asked).accounts.creation is expected
