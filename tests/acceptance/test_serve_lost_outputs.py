"""What a host was told is safe survives a power cut; what is lost all the same is computed again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from power_cut import Disk
from served import DOUBLE, Site, compute_all, double, serving_site
from simulated_client import Client, Finished

import aioboinc
from aioboinc.aio import durable
from aioboinc.passes import assimilation, publishing

ACCEPTED = "<status>0</status>"


@pytest.mark.parametrize("names_survive", [True, False])
async def test_an_upload_is_durable_when_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names_survive: bool
) -> None:
    async with serving_site(tmp_path / "project") as site:
        disk = Disk(site.project.upload_dir, durable.sync)
        monkeypatch.setattr(durable, "sync", disk.sync)
        async with site.batch(tmp_path / "batch", 40, quorum=1):
            client = site.client(ncpus=8)
            tasks = (await client.call(1e9, 40)).tasks
            answers = {
                task.output: task.answer(double, await client.get(task.inputs["pyboinc_input"])) for task in tasks
            }
            replies = await asyncio.gather(*(client.upload(task, answers[task.output]) for task in tasks))
            assert all(ACCEPTED in reply for reply in replies)
            assert disk.syncs < len(tasks)  # shared
            disk.cut(names_survive=names_survive)
            for name, data in answers.items():
                assert Path(site.project.upload_path(name)).read_bytes() == data


async def test_no_sync_leaves_a_name_without_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving_site(tmp_path / "project") as site, site.batch(tmp_path / "batch", 1, quorum=1):
        disk = Disk(site.project.upload_dir, durable.sync)
        monkeypatch.setattr(durable, "sync", disk.sync)
        client = site.client()
        (task,) = (await client.call(1e9, 1)).tasks
        path = Path(site.project.upload_path(task.output))
        placed = []
        disk.before_sync = lambda: placed.append(path.exists())
        data = os.urandom(600_000)
        assert ACCEPTED in await client.upload(task, data)
        assert placed == [False, True]


@pytest.mark.parametrize("question", ["upload", "size"])
async def test_what_is_complete_is_made_durable_before_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """The server was killed between the move and the sync, and the client asks again."""
    async with serving_site(tmp_path / "project") as site, site.batch(tmp_path / "batch", 1, quorum=1):
        disk = Disk(site.project.upload_dir, durable.sync)
        monkeypatch.setattr(durable, "sync", disk.sync)
        client = site.client()
        (task,) = (await client.call(1e9, 1)).tasks
        path = Path(site.project.upload_path(task.output))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"data")
        if question == "upload":
            assert ACCEPTED in await client.upload(task, b"data")
        else:
            assert "<file_size>4</file_size>" in await client.uploaded_size(task.output)
        disk.cut(names_survive=False)
        assert path.read_bytes() == b"data"


async def test_a_sync_that_fails_is_no_success(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.batch(tmp_path / "batch", 1, quorum=1):
        client = site.client()
        (task,) = (await client.call(1e9, 1)).tasks

        def broken(path: Path) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as context:
            context.setattr(durable, "sync", broken)
            for _ in range(3):
                reply = await client.upload(task, b"data")
                assert "<status>1</status>" in reply
                assert str(tmp_path) not in reply
        assert caplog.text.count("Input/output error") == 1
        assert ACCEPTED in await client.upload(task, b"data")


async def test_an_incomplete_file_is_never_taken_for_a_whole_one(site: Site, tmp_path: Path) -> None:
    """A client that hears of as many bytes as it has does not upload any: the server was killed before the move."""
    async with site.batch(tmp_path / "batch", 1, quorum=1):
        client = site.client()
        (task,) = (await client.call(1e9, 1)).tasks
        partial = site.project.upload_dir / "partial" / task.output
        partial.parent.mkdir(exist_ok=True)
        partial.write_bytes(b"data")
        assert "<file_size>3</file_size>" in await client.uploaded_size(task.output)
        assert ACCEPTED in await client.upload(task, b"data", offset=3)
        assert Path(site.project.upload_path(task.output)).read_bytes() == b"data"


Damage = Callable[[Path], None]
DAMAGES: dict[str, Damage] = {
    "gone": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b"") and None,
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 1),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)) and None,
}


def damage_first(monkeypatch: pytest.MonkeyPatch, damage: Damage) -> list[str]:
    """Damage the outputs of odd jobs when they are to be published for the first time; return which that were."""
    publish = publishing.publish
    seen: set[str] = set()
    damaged: list[str] = []

    def damaging(items: Iterable[publishing.Item], *args: object, **options: object) -> publishing.Outcome:
        items = list(items)
        for item in items:
            if item.source and item.name not in seen and int(item.name.rpartition("_")[2]) % 2:
                damage(Path(item.source))
                damaged.append(item.name)
            seen.add(item.name)
        return publish(items, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(assimilation.publishing, "publish", damaging)
    return damaged


@pytest.mark.parametrize("how", DAMAGES)
async def test_hosts_compute_lost_outputs_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    damaged = damage_first(monkeypatch, DAMAGES[how])
    async with site.batch(tmp_path / "batch", 6, quorum=1) as batch:
        host = site.client("host")
        await until_done(batch.task, [host])
        assert sorted(batch.outputs) == [0, 2, 4, 6, 8, 10]  # type: ignore[type-var]
        assert batch.errors == []
    assert len(damaged) == 3
    assert "computed again: " in caplog.text


async def test_the_replica_of_another_host_stands_for_a_lost_output(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = damage_first(monkeypatch, DAMAGES["emptied"])
    async with site.batch(tmp_path / "batch", 6, quorum=2) as batch:
        clients = [site.client("one"), site.client("two")]
        await compute_all(clients)
        await batch.done()
        assert sorted(batch.outputs) == [0, 2, 4, 6, 8, 10]  # type: ignore[type-var]
    assert len(damaged) == 3
    assert "another valid result stands for it" in caplog.text
    assert "computed again" not in caplog.text


@pytest.mark.parametrize("how", DAMAGES)
async def test_this_machine_computes_lost_outputs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    damaged = damage_first(monkeypatch, DAMAGES[how])
    (tmp_path / "slave.py").write_text(DOUBLE)
    outputs: list[object] = []

    async def make_calls() -> None:
        for number in range(20):
            await aioboinc.pyboinc_call(str(tmp_path / "slave.py"), number)

    async with asyncio.timeout(120):
        await aioboinc.pyboinc_master(make_calls, outputs.append, batch_dir=tmp_path)
    assert sorted(outputs) == [2 * number for number in range(20)]  # type: ignore[type-var]
    assert len(damaged) == 10


async def until_done(task: asyncio.Task[aioboinc.Summary], clients: list[Client]) -> None:
    """Let *clients* ask and compute until the master is done."""
    async with asyncio.timeout(120):
        while not task.done():
            for client in clients:
                reports: list[Finished] = [
                    await client.compute(task, double) for task in list(client.tasks.values())
                ]
                await client.call(1e9, 1, reports)
            await asyncio.wait({task}, timeout=0.05)
