"""Two hosts, one of which is careless or hostile: the other one must not notice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import served
from served import Site, double, eventually
from simulated_client import Client, Finished

from aioboinc.serve import accounts, newcomers, reluctance, remote_hosts, request_reader, scheduler
from aioboinc.serve.protocol import request as scheduler_request

ODD = (
    "nan",
    "inf",
    "-inf",
    "-1",
    "1e308",
    "9223372036854775808",
    "1e15",
    "-1e-300",
    "text",
    "",
    "0x10",
    "1" * 300,
)


@contextlib.contextmanager
def database(site: Site) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(site.root / "project.sqlite", timeout=60)) as connection, connection:
        yield connection


def let_time_pass(site: Site, seconds: int) -> None:
    """Let all results have been sent so much earlier."""
    with database(site) as connection:
        connection.execute("UPDATE result SET sent_time = sent_time - ? WHERE sent_time > 0", [seconds])


async def test_what_a_host_claims_of_its_speed_counts_for_itself(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 60, quorum=1, rsc_fpops_est=100e9) as batch:
        for done, (speed, uploads) in enumerate(
            itertools.product(("1e15", "1e308", "nan", "-1e9"), (True, False))
        ):
            hostile, honest = site.client("hostile", ncpus=1), site.client("honest", ncpus=1)
            hostile.claims["p_fpops"] = speed
            (task,) = (await hostile.call(1, 0)).tasks
            assert 0 < task.flops_estimate < math.inf
            report = await hostile.compute(task, double) if uploads else Finished(task.name)
            let_time_pass(site, 100_000)
            await hostile.call(0, 0, [Finished(report.name, elapsed=1e5)])
            if uploads:
                await batch.reaches(done // 2 + 1)
            assert len((await hostile.call(1, 0)).tasks) == 1
            # Two jobs of a hundred seconds each, as ever.
            tasks = (await honest.call(150, 0)).tasks
            assert [task.flops_estimate for task in tasks] == [100e9, 100e9], (speed, uploads)


async def test_a_job_that_seems_too_long_for_all_goes_to_somebody(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reluctance, "PATIENCE", 0.2)
    monkeypatch.setattr(scheduler, "_RESTART", 0)
    async with site.batch(tmp_path / "batch", 1, quorum=1, rsc_fpops_est=1e18) as batch:
        client = site.client()
        assert (await client.call(1, 1)).tasks == []
        (status,) = (await site.get_json("status.json"))["batches"]  # type: ignore[misc]
        assert status["too_long"] is False
        reply = await eventually(lambda: client.call(1, 1), lambda reply: reply.tasks)
        status = await eventually(
            lambda: site.get_json("status.json"), lambda status: status["batches"][0]["too_long"]
        )
        await client.call(0, 0, [await client.compute(reply.tasks[0], double)])
        await batch.done()


async def test_large_requests_hold_up_nobody(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, begun = threading.Event(), threading.Event()
    parse = scheduler_request.parse

    def slow_parse(body: bytes, *, cut: bool = False) -> scheduler_request.Request:
        if len(body) > 1_000_000:
            begun.set()
            assert go_on.wait(60)
        return parse(body, cut=cut)

    monkeypatch.setattr(request_reader.scheduler_request, "parse", slow_parse)
    async with site.batch(tmp_path / "batch", 20, quorum=1) as batch:
        hostile = [site.client(f"hostile{number}") for number in range(10)]
        large = [Finished("x", stderr="]" * 2_000_000)]
        requests = [asyncio.create_task(client.call(0, 0, large)) for client in hostile]
        try:
            await asyncio.to_thread(begun.wait, 60)
            honest = site.client("honest")
            (task, *_) = (await honest.call(1, 1)).tasks
            assert "<file_size>0<" in await honest.uploaded_size(task.output)
            await served.compute_all([honest])
            await batch.done()
            query = {"email_addr": "owner@localhost", "passwd_hash": "0" * 32}
            async with site.session.get(f"{site.url}lookup_account.php", params=query) as response:
                assert "-206" in await response.text()
            assert not any(request.done() for request in requests)
        finally:
            go_on.set()
        replies = await asyncio.gather(*requests)
    assert all(reply.names("result_ack") == ["x"] for reply in replies)


async def test_a_host_gets_rid_of_any_number_of_results(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 8, quorum=1) as batch:
        client, honest = site.client("busy"), site.client("honest")
        tasks = (await client.call(1e9, 4)).tasks
        reports = [await client.compute(task, double) for task in tasks]
        for others in (
            [Finished(f"short_{number}", stderr="") for number in range(5500)],
            [Finished(f"long_{number}", stderr="x" * 60_000) for number in range(150)],
        ):
            reports = others + reports
            requests = 0
            while reports:
                reply = await client.call(0, 0, reports)
                acknowledged = set(reply.names("result_ack"))
                assert acknowledged
                reports = [report for report in reports if report.name not in acknowledged]
                requests += 1
            assert requests < 10
        assert client.tasks == {}
        await served.compute_all([honest])
        await batch.done()
    assert sorted(batch.outputs) == [2 * number for number in range(8)]


async def test_a_part_of_a_request_loses_no_results(site: Site, tmp_path: Path) -> None:
    """What the part that was read does not name may still be there: it is not sent again."""
    async with site.batch(tmp_path / "batch", 3, quorum=1):
        client = site.client()
        assert len((await client.call(1e9, 3)).tasks) == 3
        reply = await client.call(1e9, 1, [Finished(f"x_{number}", stderr="") for number in range(1500)])
        assert reply.tasks == []
        assert not any("Resent" in message for message in reply.messages)


async def test_claimed_cores_get_no_more_than_real_ones(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 600, quorum=1):
        hostile, honest = site.client("hostile"), site.client("honest", ncpus=4)
        hostile.claims["p_ncpus"] = 2**31
        for _ in range(8):
            reply = await hostile.call(1e9, 1e9)
        assert len(hostile.tasks) <= 4 * 64
        assert "This computer has reached a limit on tasks in progress" in reply.messages
        assert len((await honest.call(1e9, 16)).tasks) == 16
        status = await site.get_json("status.json")
        assert int(str(status["cores_active"])) <= 1024 + 4


async def test_successes_without_an_output_are_errors(tmp_path: Path) -> None:
    def edit(root: Path) -> None:
        served.edit_config(root, daily_result_quota=16)

    async with (
        served.serving_site(tmp_path / "project", edit=edit) as site,
        site.batch(tmp_path / "batch", 60, quorum=1, max_error_results=5) as batch,
    ):
        hostile, honest = site.client("hostile", ncpus=1), site.client("honest", ncpus=4)
        await honest.call()
        got = 0

        async def cheat() -> object:
            nonlocal got
            reply = await hostile.call(1e9, 1, [Finished(name) for name in hostile.tasks])
            got += len(reply.tasks)
            return "daily quota" in " ".join(reply.messages)

        await eventually(cheat, bool)
        assert got <= 16
        status = await site.get_json(f"status.json?key={site.status_key}")
        errors = status["errors"]
        assert isinstance(errors, list)
        assert [(error["host"], error["reason"]) for error in errors] == [(hostile.hostid, "no output file")] * 3
        for error in (await site.get_json("status.json"))["errors"]:  # type: ignore[attr-defined]
            assert error["reason"] == "no output, or not a good one"
        with database(site) as connection:
            ((allowed,),) = connection.execute(
                "SELECT max_jobs_per_day FROM host_app_version WHERE host_id = ?", [hostile.hostid]
            )
            assert allowed == 1
            # As if the host had been mended, and a day had passed: what it does well doubles the quota again.
            connection.execute("UPDATE host_app_version SET n_jobs_today = 0")
        reports = [Finished(name) for name in hostile.tasks]
        (task,) = (await hostile.call(1e9, 1, reports)).tasks
        await hostile.call(0, 0, [await hostile.compute(task, double)])
        await eventually(lambda: hostile.call(1e9, 1), lambda reply: reply.tasks)
        await hostile.call(0, 0, [Finished(name, exit_status=1, state=3) for name in hostile.tasks])
        await eventually(lambda: served.compute_all([honest]), lambda _: len(batch.outputs) == 60)
        await batch.done()


async def test_an_account_makes_so_many_hosts_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_hosts, "_MAX_NEW", 5)
    async with (
        served.serving_site(tmp_path / "project") as site,
        site.batch(tmp_path / "batch", 4, quorum=1) as batch,
    ):
        honest = site.client("honest")
        await honest.call()
        made = 1
        for number in range(20):
            reply = await site.client(f"host{number}").call()
            made += bool(reply.text("hostid"))
        assert made == 5
        assert "Too many new computers of this account, or from this address" in reply.messages
        assert 0 < float(reply.text("request_delay")) < 3600
        await served.compute_all([honest])
        await batch.done()
        assert (await site.get_json("status.json"))["hosts_total"] == made


async def test_an_address_makes_so_many_accounts_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "_MAX_NEW", 5)
    async with served.serving_site(tmp_path / "project", open_accounts=True) as site:
        made = [bool(await site.create_account(f"user{number}")) for number in range(8)]
        assert made == [True] * 5 + [False] * 3
        assert (await site.client().call()).text("userid")
        headers = {"X-Forwarded-For": "192.0.2.1, 198.51.100.7"}  # somebody else, through a proxy on this machine
        query = {"email_addr": "else@example.org", "passwd_hash": "0" * 32, "user_name": "else"}
        async with site.session.get(f"{site.url}create_account.php", params=query, headers=headers) as response:
            assert "<authenticator>" in await response.text()


async def test_new_hosts_of_a_stranger_share_what_they_get(open_site: Site, tmp_path: Path) -> None:
    site = open_site
    async with site.batch(tmp_path / "batch", 400, quorum=1) as batch:
        key = await site.create_account()
        hosts = [site.client(f"host{number}", key=key, ncpus=64) for number in range(4)]
        for host in hosts:
            await host.call(1e9, 64)
        assert sum(len(host.tasks) for host in hosts) == newcomers.MAX_HELD
        honest = site.client("honest", ncpus=4)
        assert len((await honest.call(1e9, 16)).tasks) == 16
        # What is found valid of a host is for that host.
        (task, *_) = hosts[0].tasks.values()
        await hosts[0].call(0, 0, [await hosts[0].compute(task, double)])
        await batch.reaches(1)
        assert len((await hosts[0].call(60, 0)).tasks) == 60
        assert len((await hosts[1].call(1e9, 1)).tasks) == 64


async def test_a_host_that_calls_all_the_time_is_told_to_wait(tmp_path: Path) -> None:
    def edit(root: Path) -> None:
        served.edit_config(root, min_sendwork_interval=6)

    async with (
        served.serving_site(tmp_path / "project") as site,
        site.batch(tmp_path / "batch", 4, quorum=1) as batch,
    ):
        assert batch
    async with served.serving_site(tmp_path / "project", edit=edit) as site:
        hostile, honest = site.client("hostile"), site.client("honest")
        replies = [await hostile.call() for _ in range(40)]
        refused = [reply for reply in replies if "This computer's requests come too often" in reply.messages]
        assert len(refused) >= 10
        assert all(float(reply.text("request_delay")) > 0 for reply in refused)
        assert (await honest.call()).text("userid")


async def test_no_odd_number_reaches_the_database(tmp_path: Path) -> None:
    def edit(root: Path) -> None:
        served.edit_config(root, max_wus_to_send=1)

    async with (
        served.serving_site(tmp_path / "project", edit=edit) as site,
        site.batch(tmp_path / "batch", 800, quorum=1),
    ):
        for odd in ODD:
            hostile, honest = site.client("hostile"), site.client("honest")
            (task, *_) = (await hostile.call(1, 2)).tasks
            hostile.claims = dict.fromkeys(NUMBERS, odd)
            assert (await hostile.call(1, 1, [Finished(task.name)])).names("result_ack") == [task.name]
            await hostile.call(1, 1)
            assert len((await honest.call(1, 2)).tasks) == 2, odd
    with database(site) as connection:
        connection.row_factory = sqlite3.Row
        for table in ("host", "result", "host_app_version"):
            for row in connection.execute(f"SELECT * FROM {table}"):
                for column in row.keys():  # noqa: SIM118
                    value = row[column]
                    if isinstance(value, int | float):
                        assert math.isfinite(value), column
                        assert value >= MINIMA.get(column, 0), column
                        assert value <= 2**60, column
                    assert value is not None or column in NULLABLE, column


NUMBERS = [
    "cpu_req_secs",
    "cpu_req_instances",
    "duration_correction_factor",
    "timezone",
    "p_ncpus",
    "p_fpops",
    "p_iops",
    "p_membw",
    "m_nbytes",
    "m_cache",
    "m_swap",
    "d_total",
    "d_free",
    "d_boinc_used_total",
    "d_boinc_used_project",
    "d_project_share",
    "bwup",
    "bwdown",
    "on_frac",
    "connected_frac",
    "active_frac",
    "gpu_active_frac",
    "max_ncpus_pct",
    "ram_max_used_busy_pct",
    "ram_max_used_idle_pct",
    "state",
    "exit_status",
    "app_version_num",
    "final_cpu_time",
    "final_elapsed_time",
    "core_client_major_version",
    "core_client_release",
]
MINIMA = {"timezone": -86400, "connected_frac": -1, "exit_status": -(2**31), "size_class": -1}
NULLABLE = {"xml_doc_out", "stderr_out", "serialnum"}


class TestGate:
    """What browsers can be made to send."""

    PAGES = (
        "create_account.php?email_addr=eve@example.org&passwd_hash=00000000000000000000000000000000&user_name=eve",
        "status.json",
        "get_project_config.php",
        "lookup_account.php?email_addr=eve@example.org&passwd_hash=00000000000000000000000000000000",
    )

    async def refused(self, site: Site, **headers: str) -> set[int]:
        """Return the statuses of requests of all kinds with *headers*, which must change nothing."""
        statuses = set()
        renamed = {name.replace("_", "-"): value for name, value in headers.items()}
        for page in self.PAGES:
            async with site.session.get(f"{site.url}{page}", headers=renamed) as response:
                statuses.add(response.status)
                await response.read()
        body = site.client("eve").request(1e9, 1).encode()
        for page in ("scheduler", "file_upload_handler"):
            async with site.session.post(f"{site.url}{page}", data=body, headers=renamed) as response:
                statuses.add(response.status)
                assert "<result>" not in await response.text()
        with database(site) as connection:
            assert connection.execute("SELECT COUNT(*) FROM host").fetchone() == (0,)
            assert connection.execute("SELECT COUNT(*) FROM user").fetchone() == (1,)
        return statuses

    async def test_another_name(self, open_site: Site, tmp_path: Path) -> None:
        async with open_site.batch(tmp_path / "batch", 4, quorum=1) as batch:
            for host in (
                "evil.example",
                "evil.example:8416",
                "127.0.0.1.evil.example",
                "[::1]:80",
                "10.0.0.1",
                "[",
            ):
                assert await self.refused(open_site, Host=host) == {421}, host
            await served.compute_all([open_site.client()])
            await batch.done()

    async def test_another_site(self, open_site: Site) -> None:
        for headers in (
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1"},
            {"Origin": "https://127.0.0.1:8416"},
        ):
            assert await self.refused(open_site, **headers) == {403}, headers
        assert (await open_site.client().call()).text("userid")

    async def test_what_is_ours(self, site: Site) -> None:
        port = site.url.rstrip("/").rpartition(":")[2]
        own = site.url.rstrip("/")
        for headers in (
            {},
            {"Host": "127.0.0.1"},
            {"Host": f"localhost:{port}"},
            {"Host": f"LocalHost.:{port}"},
            {"Sec-Fetch-Site": "same-origin", "Origin": own},
            {"Sec-Fetch-Site": "none"},
            {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"},
        ):
            async with site.session.get(f"{site.url}status.json", headers=headers) as response:
                assert response.status == 200, headers
        # A link on another site's page leads to the page, and to nothing else.
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        async with site.session.get(site.url, headers=link) as response:
            assert response.status == 200

    async def test_behind_a_name(self, tmp_path: Path) -> None:
        """A proxy passes the name on, or puts the address that it calls in its place."""
        async with served.serving_site(tmp_path / "project", url="https://lab.example.org/project/") as site:
            direct = f"http://127.0.0.1:{site.port}/project/"
            for name in ("lab.example.org", "lab.example.org:443", "LAB.example.org.", f"127.0.0.1:{site.port}"):
                client = Client(site.session, direct, site.key, name=name)
                client.headers = {"Host": name}
                assert (await client.call()).text("userid"), name
            for origin, status in (("https://lab.example.org", 200), ("https://evil.example", 403)):
                headers = {"Host": f"127.0.0.1:{site.port}", "Origin": origin}
                async with site.session.get(f"{direct}status.json", headers=headers) as response:
                    assert response.status == status
