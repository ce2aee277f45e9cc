"""`python -m aioboinc serve`, by requests as clients send them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import served
from served import Site, compute_all, eventually
from simulated_client import Finished

from aioboinc import connectors, store
from aioboinc.passes import cancellation


async def test_two_hosts_compute_a_batch(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 20) as batch:
        await compute_all([site.client("a"), site.client("b")])
        await batch.done()
    assert sorted(batch.outputs) == [2 * number for number in range(20)]


async def test_accounts_are_made_and_found(open_site: Site) -> None:
    site = open_site

    async def ask(page: str, **query: str) -> str:
        async with site.session.get(f"{site.url}{page}", params=query) as response:
            assert response.status == 200
            return await response.text()

    config = await ask("get_project_config.php")
    assert f"<master_url>{site.url}</master_url>" in config
    assert "<platform_name>windows_x86_64</platform_name>" in config
    assert "account_creation_disabled" not in config
    anna = {"email_addr": "Anna@example.org", "passwd_hash": "0" * 32, "user_name": "anna"}
    created = await ask("create_account.php", **anna)
    key = created.partition("<authenticator>")[2].partition("<")[0]
    assert len(key) == 32
    assert await ask("create_account.php", **anna) == created  # the wizard was run again
    assert await ask("lookup_account.php", email_addr="anna@example.org", passwd_hash="0" * 32) == created
    wrong = await ask("lookup_account.php", email_addr="anna@example.org", passwd_hash="1" * 32)
    assert "<error_num>-206</error_num>" in wrong
    unknown = await ask("lookup_account.php", email_addr="bert@example.org", passwd_hash="0" * 32)
    assert "<error_num>-136</error_num>" in unknown
    taken = await ask("create_account.php", **{**anna, "passwd_hash": "1" * 32})
    assert "<error_num>-137</error_num>" in taken
    namesake = await ask("create_account.php", **{**anna, "email_addr": "other@example.org"})
    assert "<authenticator>" in namesake
    for field, bad, number in (
        ("email_addr", "anna", -205),
        ("user_name", "<anna>", -188),
        ("passwd_hash", "short", -1),
    ):
        assert f"<error_num>{number}</error_num>" in await ask("create_account.php", **{**anna, field: bad})
    reply = await site.client(key=key).call(1)
    assert reply.text("user_name") == "anna"
    # The first account has no password that anybody could guess.
    owner = await ask("lookup_account.php", email_addr="owner@localhost", passwd_hash="")
    assert "<error_num>-206</error_num>" in owner


async def test_strangers_make_no_accounts_unless_they_may(site: Site) -> None:
    query = {"email_addr": "anna@example.org", "passwd_hash": "0" * 32, "user_name": "anna"}
    async with site.session.get(f"{site.url}create_account.php", params=query) as response:
        assert "<error_num>-208</error_num>" in await response.text()
    async with site.session.get(f"{site.url}get_project_config.php") as response:
        assert "<account_creation_disabled/>" in await response.text()


async def test_a_host_gets_one_result_of_a_workunit(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 5) as batch:
        one, other = site.client("one"), site.client("other")
        first = await one.call(1e9, 1)
        assert len({task.workunit for task in first.tasks}) == len(first.tasks) == 5
        again = await one.call(1e9, 1)
        assert again.tasks == []
        assert "Project has no tasks available" in again.messages
        second = await other.call(1e9, 1)
        assert {task.workunit for task in second.tasks} == {task.workunit for task in first.tasks}
        await compute_all([one, other])
        await batch.done()


async def test_results_of_a_workunit_for_different_accounts(tmp_path: Path) -> None:
    def edit(root: Path) -> None:
        served.edit_config(root, one_result_per_user_per_wu=1)

    async with (
        served.serving_site(tmp_path / "project", edit=edit, open_accounts=True) as site,
        site.batch(tmp_path / "batch", 3),
    ):
        assert len((await site.client("one").call(1e9, 1)).tasks) == 3
        assert (await site.client("other").call(1e9, 1)).tasks == []
        key = await site.create_account()
        assert len((await site.client("third", key=key).call(1e9, 1)).tasks) == 3


async def test_a_job_that_failed_on_a_host_goes_to_another(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 1, quorum=1) as batch:
        bad, good = site.client("bad"), site.client("good")
        await good.call(0)
        (task,) = (await bad.call(1e9, 1)).tasks
        assert (await bad.call(1e9, 1, [Finished(task.name, exit_status=3, state=3, stderr="boom")])).tasks == []
        retry = await eventually(lambda: good.call(1e9, 1), lambda reply: reply.tasks)
        assert (await bad.call(1e9, 1)).tasks == []
        await good.call(0, 0, [await good.compute(retry.tasks[0], served.double)])
        await batch.done()
    assert batch.outputs == [0]
    status = await site.get_json(f"status.json?key={site.status_key}")
    (error,) = status["errors"]  # type: ignore[misc]
    assert (error["result"], error["reason"]) == (task.name, "exit status 3")
    assert error["stderr"] == "boom"


async def test_texts_of_hosts_are_shown_safely(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 1, quorum=1):
        client = site.client("host\u202e\u2066name")
        (task,) = (await client.call(1e9, 1)).tasks
        stderr = "pyboinc: red\u202e\u009b31m\nsecond\tline\u2028third"
        await client.call(0, 0, [Finished(task.name, exit_status=3, state=3, stderr=stderr)])
        status = await site.get_json(f"status.json?key={site.status_key}")
    (host,) = status["hosts"]  # type: ignore[misc]
    (error,) = status["errors"]  # type: ignore[misc]
    assert host["name"] == r"host\u202e\u2066name"
    assert error["reason"] == r"exit status 3: red\u202e\x9b31m"
    assert error["stderr"] == "pyboinc: red\\u202e\\x9b31m\nsecond\tline\\u2028third"


async def test_the_only_host_gets_a_failed_job_again(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 1, quorum=1, max_error_results=2) as batch:
        client = site.client()
        for _ in range(3):
            reply = await eventually(lambda: client.call(1e9, 1), lambda reply: reply.tasks)
            failed = Finished(reply.tasks[0].name, exit_status=3, state=3, stderr="no such thing")
            await client.call(0, 0, [failed])
        await batch.done()
    (error,) = batch.errors
    assert [result.exit_status for result in error.results] == [3, 3, 3]


async def test_lost_results_are_sent_again(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 3, quorum=1) as batch:
        client = site.client()
        lost = await client.call(1e9, 1)
        assert len(lost.tasks) == 3
        client.tasks.clear()  # the reply never arrived
        again = await client.call(1e9, 1)
        assert {task.name for task in again.tasks} == {task.name for task in lost.tasks}
        assert f"Resent lost task {lost.tasks[0].name}" in again.messages
        assert {task.output for task in again.tasks} == {task.output for task in lost.tasks}
        await compute_all([client])
        await batch.done()
    assert len(batch.outputs) == 3


@pytest.mark.parametrize("shares_machine", [True, False])
async def test_the_first_reply_was_lost(site: Site, tmp_path: Path, shares_machine: bool) -> None:
    async with site.batch(tmp_path / "batch", 2, quorum=1) as batch:
        client = site.client()
        client.shares_machine = shares_machine
        await client.lose_reply(1e9, 1)
        await eventually(lambda: client.call(1e9, 1), lambda _: len(client.tasks) == 2)
        await compute_all([client])
        await batch.done()
    status = await site.get_json("status.json")
    assert status["hosts_total"] == 1


async def test_the_reply_to_a_report_was_lost(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 2, quorum=1) as batch:
        client = site.client()
        (task,) = (await client.call(1, 0)).tasks
        report = await client.compute(task, served.double)
        await client.lose_reply(1, 0, [report])
        await batch.reaches(1)
        reply = await client.call(1, 0, [report])
        assert reply.names("result_ack") == [task.name]
        assert reply.names("result_abort") == []
        (other,) = client.tasks.values()  # what the lost reply brought
        await client.call(0, 0, [await client.compute(other, served.double)])
        await batch.done()
    assert sorted(batch.outputs) == [0, 2]


async def test_lost_results_are_sent_again_by_a_new_server(tmp_path: Path) -> None:
    root = tmp_path / "project"
    async with served.serving_site(root) as site, site.batch(tmp_path / "batch", 2, quorum=1):
        client = site.client()
        lost = await client.call(1e9, 1)
        client.tasks.clear()
    async with served.serving_site(root) as site:
        client.session = site.session
        again = await client.call(1e9, 1)
        assert {task.name for task in again.tasks} == {task.name for task in lost.tasks}


async def test_results_of_an_abandoned_batch_are_aborted(site: Site, tmp_path: Path) -> None:
    client = site.client()
    async with site.batch(tmp_path / "batch", 1, quorum=1):
        (task,) = (await client.call(1e9, 1)).tasks
    async with connectors.open(site.project.database_url) as connector:
        checkpoint = (tmp_path / "batch" / "pyboinc_checkpoint").read_text()
        await cancellation.abandon(store.Store(connector), checkpoint.partition('"token": "')[2][:32])
    reply = await client.call(0)
    assert reply.names("result_abort") == [task.name]
    unknown = await client.call(0, others=["pyboinc_99_0_0"])
    assert unknown.names("result_abort") == ["pyboinc_99_0_0"]


async def test_a_result_nobody_needs_is_not_begun(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 1, quorum=1, target_nresults=2) as batch:
        quick, slow = site.client("quick"), site.client("slow")
        (task,) = (await slow.call(1e9, 1)).tasks
        await compute_all([quick])
        await batch.done()
        reply = await eventually(slow.call, lambda reply: reply.names("result_abort_if_not_started"))
        assert reply.names("result_abort_if_not_started") == [task.name]


async def test_a_client_that_comes_back_is_the_same_host(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 2, quorum=1):
        client = site.client()
        client.shares_machine = False
        assert len((await client.call(1e9, 1)).tasks) == 2
        hostid = client.hostid
        client.hostid = client.rpc_seqno = 0
        client.tasks.clear()  # detached, and attached again
        reply = await client.call(1e9, 1)
        assert client.hostid == hostid
        # What it had was given up, and others are made for it; as nobody else is there, it gets them.
        reply = await eventually(lambda: client.call(1e9, 1), lambda reply: len(client.tasks) == 2)
        assert all(name.endswith("_1") for name in client.tasks)
        assert reply.tasks


async def test_a_copied_client_is_another_host(site: Site) -> None:
    client, copy = site.client("one"), site.client("one")
    await client.call()
    for _ in range(3):
        await client.call()
    copy.hostid, copy.rpc_seqno = client.hostid, 1
    await copy.call()
    assert copy.hostid != client.hostid


async def test_nothing_without_an_account_key(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 1, quorum=1):
        for key in ("", "0" * 32, site.key.upper(), f"{site.key[:-1]}é"):
            stranger = site.client(key=key)
            reply = await stranger.call(1e9, 1)
            assert "Invalid or missing account key" in reply.messages[0]
            assert float(reply.text("request_delay")) >= 3600
            assert stranger.hostid == 0
            assert reply.tasks == []
    status = await site.get_json("status.json")
    assert status["hosts_total"] == 0


async def test_a_host_that_only_fails_gets_little(tmp_path: Path) -> None:
    def edit(root: Path) -> None:
        served.edit_config(root, daily_result_quota=4)

    async with (
        served.serving_site(tmp_path / "project", edit=edit) as site,
        site.batch(tmp_path / "good", 1, quorum=1) as good,
    ):
        await compute_all([site.client("good")])
        await good.done()
        async with site.batch(tmp_path / "batch", 40, quorum=1, max_error_results=20) as batch:
            helper = site.client("helper", ncpus=8)
            (task,) = (await helper.call(1, 0)).tasks
            await helper.call(0, 0, [await helper.compute(task, served.double)])
            await eventually(lambda: asyncio.sleep(0), lambda _: batch.outputs)
            bad = site.client("bad", ncpus=1)
            got = 0
            for _ in range(10):
                reply = await bad.call(1, 0)
                got += len(reply.tasks)
                failed = [Finished(task.name, exit_status=1, state=3) for task in reply.tasks]
                await bad.call(0, 0, failed)
            assert got <= 4
            assert "This computer has finished its daily quota of tasks" in reply.messages
            assert float(reply.text("request_delay")) >= 3600


async def test_a_platform_without_a_version(site: Site) -> None:
    text = site.client().request(1, 1).replace("x86_64-pc-linux-gnu", "sparc-sun-solaris")
    async with site.session.post(f"{site.url}scheduler", data=text.encode()) as response:
        assert "doesn't support computers of type sparc-sun-solaris" in await response.text()
    text = text.replace(
        "</platform_name>", "</platform_name>\n<alt_platform>\n<name>windows_x86_64</name>\n</alt_platform>"
    )
    async with site.session.post(f"{site.url}scheduler", data=text.encode()) as response:
        assert "support computers" not in await response.text()


async def test_a_client_with_another_code_signing_key_gets_no_work(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 1, quorum=1):
        client = site.client()
        client.code_sign_key = "1024\n" + "0" * 64 + "\n."
        reply = await client.call(1e9, 1)
        assert reply.tasks == []
        assert "The project has changed its security key" in reply.messages[0]
        client.code_sign_key = ""
        reply = await client.call(1e9, 1)
        assert len(reply.tasks) == 1
        assert client.code_sign_key == (site.root / "keys" / "code_sign_public").read_text().strip()
        assert reply.text("code_sign_key_signature") == ""


async def test_a_host_gets_as_much_as_it_asks_for(site: Site, tmp_path: Path) -> None:
    async with site.batch(tmp_path / "batch", 60, quorum=1, rsc_fpops_est=100e9) as batch:
        client = site.client(ncpus=4)
        # The hosts of the recorded request do 1e9 operations a second.
        assert len((await client.call(250, 0)).tasks) == 3
        assert len((await client.call(1, 2)).tasks) == 2
        reports = [await client.compute(task, served.double) for task in list(client.tasks.values())]
        got = len((await client.call(50, 0, reports)).tasks)
        assert got == 16  # four a core, as long as nothing of it has been found valid
        await batch.reaches(5)
        assert len((await client.call(34, 0)).tasks) == 34  # they take a second, it has been learned
