"""Input files and documents of workunits."""

import asyncio
import base64
import hashlib
import os
from pathlib import Path

import pytest

from aioboinc import errors
from aioboinc.batch import partition, staging
from aioboinc.program import bundle
from aioboinc.project import config, keys
from aioboinc.store import jobs
from aioboinc.wire import codec, documents


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    directory = tmp_path_factory.mktemp("keys")
    keys.create(directory / keys.PROGRAM_PRIVATE, directory / keys.PROGRAM_PUBLIC)
    return directory


@pytest.fixture
def make(tmp_path, key):
    """Return a function that makes a stager."""

    def make(inline_inputs=0, *, fanout=16, embedded=False):
        download = tmp_path / "download"
        download.mkdir(exist_ok=True)
        where = config.Project(
            root=tmp_path,
            name="test",
            master_url="http://127.0.0.1/test/",
            download_url="http://127.0.0.1/test/download",
            upload_url="http://127.0.0.1/test_cgi/file_upload_handler",
            download_dir=download,
            upload_dir=tmp_path / "upload",
            key_dir=key,
            fanout=fanout,
            database_url="",
            kind=config.Kind.EMBEDDED if embedded else config.Kind.BOINC,
            upload_certificates=True,
        )
        return where, staging.Stager(where, inline_inputs)

    return make


@pytest.fixture
def call(tmp_path):
    """Return a function that makes a call with an input of so many bytes."""
    (tmp_path / "slave.py").write_text("")
    sources = bundle.collect(tmp_path / "slave.py")

    def call(size, **options):
        data = bytes(index % 256 for index in range(size))
        kind = jobs.Kind(sources, "slave.py", bytes(32), jobs.Options(**options), options, bytes(32))
        return jobs.Call(kind, data, hashlib.sha256(data).digest(), bytes(16), False, None)

    return call


def xml_doc(job):
    """Return a job's document, as the database puts it together."""
    parts = list(job.form.document)
    parts[1::2] = [job.values[name] for name in parts[1::2]]
    return "".join(parts)


def files(where):
    return {path.name: path for path in where.download_dir.rglob("*") if path.is_file()}


def singles(first, count):
    """Return workunits of one call each."""
    return [partition.Workunit(number, 1) for number in range(first, first + count)]


async def stage(stager, batch, first, calls):
    """Stage *calls* with their files in place."""
    staged = await stager.stage(batch, singles(first, len(calls)), calls)
    if staged.has_files:
        await staged.write()
        await staged.sync()
    return staged


async def test_only_inputs_that_are_not_inline_are_files(make, call):
    where, stager = make(inline_inputs=10)
    await stage(stager, 7, 0, [call(11), call(12)])
    assert len(files(where)) == 3  # two inputs and their program
    staged = await stager.stage(7, singles(2, 2), [call(9), call(10)])
    assert not staged.has_files


async def test_a_large_input(make, call):
    where, stager = make()
    one = call(3 << 20)
    (job,) = (await stage(stager, 7, 0, [one])).jobs
    assert files(where)[f"pyboinc_7_0_{one.input_sha256.hex()}"].read_bytes() == one.input
    assert f"<nbytes>{3 << 20}</nbytes>" in xml_doc(job)


async def test_others_get_their_turn_while_many_jobs_are_made(make, call):
    _, stager = make(inline_inputs=10)
    await stage(stager, 7, 0, [call(10)])
    staging_task = asyncio.create_task(stage(stager, 7, 1, 2000 * [call(10)]))
    turns = 0
    while not staging_task.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
    assert len(staging_task.result().jobs) == 2000


@pytest.mark.parametrize("fanout", [0, 16])
async def test_an_input_is_a_file(make, call, fanout):
    where, stager = make(fanout=fanout)
    one = call(300)
    chunk = await stage(stager, 7, 5, [one])
    (job,) = chunk.jobs
    name = f"pyboinc_7_5_{one.input_sha256.hex()}"
    path = Path(where.download_path(name))
    assert path.read_bytes() == one.input
    assert job.values["name"] == "pyboinc_7_5"
    assert f"<url>{where.download_file_url(name)}</url>" in xml_doc(job)
    assert f"<md5_cksum>{hashlib.md5(one.input).hexdigest()}</md5_cksum>" in xml_doc(job)
    assert "<nbytes>300</nbytes>" in xml_doc(job)
    assert "command_line" not in xml_doc(job)
    identity = documents.identity(job.values["name"], xml_doc(job))
    assert identity.input_sha256 == one.input_sha256
    assert identity.program_sha256 == await stager.program_sha256(one.kind.sources)
    assert len(files(where)) == 2


async def test_a_small_input_is_in_the_command_line(make, call):
    where, stager = make(inline_inputs=300)
    one = call(300)
    (job,) = (await stage(stager, 7, 5, [one])).jobs
    assert f"<command_line>\n--input-base64 {base64.b64encode(one.input).decode()}\n</command_line>" in xml_doc(
        job
    )
    assert "pyboinc_input" not in xml_doc(job)
    assert documents.identity(job.values["name"], xml_doc(job)).input_sha256 == one.input_sha256
    (only,) = files(where)
    assert only.startswith("pyboinc_program_")


async def test_a_larger_input_is_a_file(make, call):
    where, stager = make(inline_inputs=300)
    small, large = (await stage(stager, 7, 0, [call(300), call(301)])).jobs
    assert "command_line" in xml_doc(small)
    assert "command_line" not in xml_doc(large)
    assert len(files(where)) == 2


async def test_the_largest_inline_input_fits_where_it_has_to(make, call):
    _, stager = make(inline_inputs=staging.MAX_INLINE)
    (job,) = (await stage(stager, 2**31 - 1, 2**31 - 1, [call(staging.MAX_INLINE)])).jobs
    assert len(xml_doc(job)) < 65535
    assert len(base64.b64encode(bytes(staging.MAX_INLINE))) < 6000  # of the 8191 that cmd.exe takes


@pytest.mark.parametrize("limit", [-1, staging.MAX_INLINE + 1, 1.5, "2048"])
def test_a_limit_that_does_not_work(make, limit):
    with pytest.raises(errors.UsageError, match="inline_inputs"):
        make(inline_inputs=limit)


def test_what_is_not_ours_has_no_identity():
    ours = f"<file_name>pyboinc_program_{'0' * 64}.zip</file_name>"
    for document in ("", ours, ours + "<command_line>\n--nthreads 1\n</command_line>"):
        with pytest.raises(ValueError, match="not a workunit of pyboinc"):
            documents.identity("job", document)
    with pytest.raises(ValueError, match=r"[Pp]adding"):
        documents.identity("job", ours + "<command_line>\n--input-base64 abc\n</command_line>")


async def test_staging_again_leaves_the_same_files(make, call):
    where, stager = make()
    chunk = await stage(stager, 7, 0, [call(10), call(20)])
    before = {name: path.read_bytes() for name, path in files(where).items()}
    next(path for path in files(where).values() if path.stat().st_size == 20).write_bytes(b"torn")
    _, again = make()
    made = (await stage(again, 7, 0, [call(10), call(20)])).jobs
    assert [(job.values["name"], xml_doc(job)) for job in made] == [
        (job.values["name"], xml_doc(job)) for job in chunk.jobs
    ]
    assert {name: path.read_bytes() for name, path in files(where).items()} == before


async def test_without_write_access_nothing_is_staged(make, call):
    where, stager = make()
    os.rename(where.download_dir, f"{where.download_dir}.away")
    with pytest.raises(errors.ProjectError, match="write access"):
        await stage(stager, 7, 0, [call(10)])


@pytest.mark.parametrize(("embedded", "quorum"), [(True, 1), (False, 2)])
async def test_what_is_left_open_is_filled_in(make, call, embedded, quorum):
    _, stager = make(embedded=embedded)
    chunk = await stage(stager, 7, 0, [call(1), call(1, quorum=3, max_total_results=1)])
    default, asked = (job.form.options for job in chunk.jobs)
    assert (default.quorum, default.target_nresults) == (quorum, quorum)
    assert (asked.quorum, asked.target_nresults, asked.max_total_results) == (3, 3, 3)


async def test_each_call_with_options_of_its_own(make, call):
    _, stager = make()
    count = jobs.MAX_KINDS + 10
    chunk = await stage(stager, 7, 0, [call(1, priority=number) for number in range(count)])
    assert [job.form.options.priority for job in chunk.jobs] == list(range(count))
    assert len({id(job.form) for job in chunk.jobs}) == count


def test_the_smallest_input_is_not_empty():
    assert codec.encode(None)
