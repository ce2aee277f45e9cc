"""Batches and submissions, on both databases."""

import asyncio
import dataclasses
import hashlib
import re

import pytest

from aioboinc import errors, models, store
from aioboinc.passes import cancellation
from aioboinc.store import batches, jobs
from aioboinc.wire import documents
from database import insertion
from database.daemon_world import key

NOW = 1_800_000_000
TEMPLATE = documents.parse_template(
    "<output_template><file_info><name><OUTFILE_0/></name><url><UPLOAD_URL/></url></file_info></output_template>",
    "http://127.0.0.1/upload",
)
OPTIONS = jobs.Options(quorum=2, target_nresults=2)


@pytest.fixture
def db(connector):
    return store.Store(connector)


@pytest.fixture
async def batch(db, connector):
    await insert_app(connector)
    return await db.batches.find_or_create("0" * 32, appid=1, name="test", directory="/b", version=2)


async def insert_app(connector):
    await connector.run(
        lambda tx: insertion.insert(tx, "app", id=1, create_time=NOW, name="pyboinc", user_friendly_name="PyBOINC")
    )


async def rows(connector, query, **params):
    return await connector.read(lambda tx: tx.fetch_all(query, params))


def chunk(batch, first, count, *, template=TEMPLATE, options=OPTIONS):
    form = jobs.Form(options, ("<workunit>", "number", "</workunit>"))
    made = [
        jobs.Job(form, {"name": f"pyboinc_{batch.id}_{n}", "number": str(n)}) for n in range(first, first + count)
    ]
    keys = b"".join(map(key, range(first, first + count)))
    digest = hashlib.sha256(f"{first + count}".encode()).hexdigest()
    return jobs.Chunk(first, first, made, keys, f'{{"from": {first}}}', digest, template)


async def test_app(db, connector):
    assert await db.batches.app("pyboinc") is None
    await insert_app(connector)
    assert await db.batches.app("pyboinc") == batches.App(1, "pyboinc", 0, 0)


async def test_a_token_has_one_batch(db, batch, connector):
    again = await asyncio.gather(
        *(db.batches.find_or_create("0" * 32, appid=1, name="test", directory="/b", version=2) for _ in range(5))
    )
    assert {found.id for found in again} == {batch.id}
    assert len(await rows(connector, "SELECT id FROM batch")) == 1
    (row,) = await rows(connector, "SELECT * FROM batch")
    assert (row["name"], row["state"], row["njobs"]) == ("test", models.BatchState.IN_PROGRESS, 0)


async def test_a_moved_batch_directory_is_noted(db, batch, connector):
    await db.batches.find_or_create("0" * 32, appid=1, name="test", directory="/elsewhere", version=2)
    (row,) = await rows(connector, "SELECT directory FROM pyboinc_batch")
    assert row["directory"] == "/elsewhere"


async def test_a_chunk_becomes_workunits_with_results(db, batch, connector):
    await db.submissions.commit(batch.id, 1, chunk(batch, 0, 3))
    await db.submissions.commit(batch.id, 1, chunk(batch, 3, 2))
    workunits = await rows(connector, "SELECT * FROM workunit ORDER BY id")
    assert [row["name"] for row in workunits] == [f"pyboinc_{batch.id}_{n}" for n in range(5)]
    assert workunits[3]["xml_doc"] == b"<workunit>3</workunit>"
    assert {row["min_quorum"] for row in workunits} == {2}
    assert {row["transition_time"] - row["create_time"] for row in workunits} == {
        max(10 * 86400, OPTIONS.delay_bound * 3 // 2)
    }
    made = await rows(connector, "SELECT * FROM result ORDER BY name")
    assert [row["name"] for row in made] == [f"pyboinc_{batch.id}_{n}_{k}" for n in range(5) for k in range(2)]
    ids = {row["id"]: row["name"] for row in workunits}
    assert all(row["name"].startswith(ids[row["workunitid"]] + "_") for row in made)
    assert {row["server_state"] for row in made} == {models.ServerState.UNSENT}
    in_a_row = [row["workunitid"] for row in sorted(made, key=lambda row: row["id"])]
    assert in_a_row == sorted(in_a_row)  # BOINC's transitioner takes that for granted
    assert len({row["random"] for row in made}) == len(made)
    files = [re.fullmatch(rb".*<name>(\w+_\d+)_r(\d+)_0</name>.*", row["xml_doc_in"]) for row in made]
    assert [file[1].decode() for file in files] == [row["name"] for row in made]
    assert len({int(file[2]) for file in files} | {row["random"] for row in made}) == 20
    assert all(row["random"] < 2**31 for row in made)
    progress = await db.batches.progress(batch.id)
    assert (progress.njobs, progress.digest, progress.submitted) == (5, chunk(batch, 3, 2).digest, False)
    (row,) = await rows(connector, "SELECT njobs FROM batch")
    assert row["njobs"] == 5


async def test_without_a_template_the_transitioner_is_due(db, batch, connector):
    await db.submissions.commit(batch.id, 1, chunk(batch, 0, 1, template=None))
    assert await rows(connector, "SELECT id FROM result") == []
    (row,) = await rows(connector, "SELECT create_time, transition_time FROM workunit")
    assert row["transition_time"] == row["create_time"]


async def test_committing_a_chunk_twice_does_it_once(db, batch, connector):
    await db.submissions.commit(batch.id, 1, chunk(batch, 0, 3))
    await db.submissions.commit(batch.id, 1, chunk(batch, 0, 3))
    assert len(await rows(connector, "SELECT id FROM workunit")) == 3
    assert len(await rows(connector, "SELECT id FROM result")) == 6


async def test_another_master_is_noticed(db, batch, connector):
    await db.submissions.commit(batch.id, 1, chunk(batch, 0, 3))
    with pytest.raises(errors.DatabaseError, match="another master"):
        await db.submissions.commit(batch.id, 1, chunk(batch, 0, 2))
    assert len(await rows(connector, "SELECT id FROM workunit")) == 3


async def test_a_chunk_is_all_or_nothing(db, batch, connector):
    bad = chunk(batch, 0, 3)
    bad = dataclasses.replace(bad, jobs=[*bad.jobs, bad.jobs[0]])
    with pytest.raises(errors.DatabaseError):
        await db.submissions.commit(batch.id, 1, bad)
    assert await rows(connector, "SELECT id FROM workunit") == []
    progress = await db.batches.progress(batch.id)
    assert (progress.njobs, progress.digest) == (0, batches.EMPTY_DIGEST)


async def test_calls_with_different_options_in_one_chunk(db, batch, connector):
    mixed = chunk(batch, 0, 4)
    options = [
        OPTIONS,
        dataclasses.replace(OPTIONS, priority=-1, rsc_fpops_est=10**13 + 1),
        dataclasses.replace(OPTIONS, rsc_fpops_est=1e-3, quorum=3, target_nresults=4, delay_bound=30 * 86400),
        dataclasses.replace(OPTIONS, rsc_fpops_est=1e20, max_error_results=5, max_total_results=50),
    ]
    made = [
        jobs.Job(jobs.Form(own, job.form.document), job.values)
        for own, job in zip(options, mixed.jobs, strict=True)
    ]
    await db.submissions.commit(batch.id, 1, dataclasses.replace(mixed, jobs=made))
    stored = await rows(connector, "SELECT * FROM workunit ORDER BY name")
    same = [
        "priority",
        "rsc_fpops_est",
        "target_nresults",
        "delay_bound",
        "max_error_results",
        "max_total_results",
    ]
    for row, own in zip(stored, options, strict=True):
        assert {name: row[name] for name in same} == {name: getattr(own, name) for name in same}
        assert row["min_quorum"] == own.quorum
        assert row["transition_time"] - row["create_time"] == max(10 * 86400, own.delay_bound * 3 // 2)
        assert row["xml_doc"] == f"<workunit>{row['name'][-1]}</workunit>".encode()
    made_results = await rows(connector, "SELECT name, priority FROM result ORDER BY name")
    assert [row["name"][-3] for row in made_results] == list("0011222233")
    assert [row["priority"] for row in made_results] == [0, 0, -1, -1, 0, 0, 0, 0, 0, 0]


async def test_documents_come_in_order_and_pages(db, batch):
    await db.submissions.commit(batch.id, 1, chunk(batch, 0, 1500))
    documents = [document async for document in db.batches.documents(batch.id)]
    assert [document.xml_doc for document in documents] == [f"<workunit>{n}</workunit>" for n in range(1500)]


async def test_submitted(db, batch, connector):
    await db.submissions.commit(batch.id, 1, chunk(batch, 0, 2))
    await db.batches.submitted(batch.id, 1)
    assert not (await db.batches.progress(batch.id)).submitted
    await db.batches.submitted(batch.id, 2)
    assert (await db.batches.progress(batch.id)).submitted
    (row,) = await rows(connector, "SELECT state FROM batch")
    assert row["state"] == models.BatchState.IN_PROGRESS


async def test_a_batch_that_was_assimilated_before_it_was_submitted_is_complete(db, batch, connector):
    await db.submissions.commit(batch.id, 1, chunk(batch, 0, 2))
    await connector.run(lambda tx: tx.execute("UPDATE pyboinc_batch SET nassimilated = 2"))
    await db.batches.submitted(batch.id, 2)
    (row,) = await rows(connector, "SELECT state, fraction_done FROM batch")
    assert (row["state"], row["fraction_done"]) == (models.BatchState.COMPLETE, 1)


async def test_abort(db, batch, connector):
    await db.submissions.commit(batch.id, 1, chunk(batch, 0, 2))
    await cancellation.abandon(db, "0" * 32)
    await cancellation.abandon(db, "0" * 32)
    assert {
        (row["server_state"], row["outcome"])
        for row in await rows(connector, "SELECT server_state, outcome FROM result")
    } == {(models.ServerState.OVER, models.Outcome.DIDNT_NEED)}
    assert {row["error_mask"] for row in await rows(connector, "SELECT error_mask FROM workunit")} == {
        models.ErrorMask.CANCELLED
    }
    assert await db.batches.progress(batch.id) is None
    (row,) = await rows(connector, "SELECT state FROM batch")
    assert row["state"] == models.BatchState.ABORTED


async def test_a_project_of_some_years_ago(db, batch, connector):
    if connector.dialect != "mysql":
        pytest.skip("BOINC's own databases only")
    for column in ("keywords", "size_class", "app_version_num"):
        await connector.script([f"ALTER TABLE workunit DROP COLUMN {column}"])
    for column in ("peak_working_set_size", "peak_swap_size", "peak_disk_usage", "size_class"):
        await connector.script([f"ALTER TABLE result DROP COLUMN {column}"])
    await db.submissions.commit(batch.id, 1, chunk(batch, 0, 2))
    assert len(await rows(connector, "SELECT id FROM result")) == 4
