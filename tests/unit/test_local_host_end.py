"""The end of a slave on a local host is the end of its Python."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from local_host_bench import ECHO, Bench, running, value_of
from slave_ends import ENDS, End

from aioboinc.project import keys
from aioboinc.slave_runtime import failures
from aioboinc.wire import codec, envelope


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> keys.PrivateKey:
    directory = tmp_path_factory.mktemp("keys")
    return keys.create(directory / "private", directory / "public")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose slots have room for the names of sockets."""
    path = Path(tempfile.mkdtemp(prefix="pb", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def bench(short_path: Path, key: keys.PrivateKey) -> AsyncIterator[Bench]:
    async with running(short_path / ".pyboinc", key) as bench:
        yield bench


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_the_end_is_that_of_python(bench: Bench, end: End) -> None:
    job = bench.job(end.slave)
    (report,) = await bench.run(job)
    if end.status:
        assert report["exit_status"] == {137: 193}.get(end.status, end.status), report
        assert not Path(job["output"]).exists()
    else:
        assert report["exit_status"] == 0, report
        content = envelope.decode(Path(job["output"]).read_bytes(), codec.OPAQUE)
        value = content.value
        assert ([value["type"], value["message"]] if content.status == "error" else value) == end.output
    assert {name: (bench.slot / name).read_text() for name in end.left} == end.left
    assert end.said in report["stderr_out"]
    assert "aioboinc" not in report["stderr_out"].partition("CDATA")[2], "that is none of its business"


async def test_an_end_without_an_end(bench: Bench) -> None:
    slave = "import atexit, signal\natexit.register(signal.pause)\npyboinc_return_output(1)"
    job = bench.job(slave, elapsed_bound=1.0)
    (report,) = await bench.run(job)
    assert report["exit_status"] == 197
    assert not Path(job["output"]).exists()
    job = bench.job(ECHO, 5)
    await bench.run(job)
    assert value_of(job) == 5


async def test_temporary_files_are_in_the_slot_and_go_with_it(bench: Bench) -> None:
    slave = """
        import os, tempfile
        file = tempfile.mkstemp()[1]
        kept = tempfile.TemporaryDirectory()
        assert os.path.samefile(tempfile.gettempdir(), "tmp")
        pyboinc_return_output([file, kept.name])
    """
    job = bench.job(slave)
    await bench.run(job)
    file, directory = value_of(job)
    assert Path(file).parent == bench.slot / "tmp"
    assert Path(file).exists()
    assert not Path(directory).exists()
    await bench.run(bench.job(ECHO))
    assert not Path(file).exists()


async def test_shared_memory_that_is_left_is_removed(bench: Bench) -> None:
    slave = """
        from multiprocessing import shared_memory
        pyboinc_return_output(shared_memory.SharedMemory(create=True, size=10).name)
    """
    job = bench.job(slave)
    (report,) = await bench.run(job)
    assert report["exit_status"] == 0, report
    assert not (Path("/dev/shm") / value_of(job)).exists()


async def test_each_job_imports_its_packages_itself(bench: Bench) -> None:
    pytest.importorskip("numpy")
    slave = """
        import os, sys
        found = "numpy" in sys.modules
        os.environ["OMP_NUM_THREADS"] = "3"
        import numpy, random
        pyboinc_return_output([found, random.random(), float(numpy.random.rand())])
    """
    jobs = [bench.job(slave) for _ in range(4)]
    for job in jobs:
        await bench.run(job)
    found, plain, numpys = zip(*map(value_of, jobs), strict=True)
    assert found == (False,) * 4
    assert len(set(plain)) == len(set(numpys)) == 4


@pytest.mark.parametrize(
    "way",
    [
        "import sys\nsys.exit(5)",
        "import os\nos._exit(5)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    ],
)
async def test_a_module_that_ends_the_process_fails_its_own_job_only(
    bench: Bench, way: str, tmp_path: Path
) -> None:
    (tmp_path / "fatal.py").write_text(way)
    slave = (
        f"import sys\nif pyboinc_get_input():\n    sys.path.append({str(tmp_path)!r})\n    import fatal\n{ECHO}"
    )
    reports = [(await bench.run(bench.job(slave, value)))[0] for value in (0, 1, 0, 1, 0)]
    assert [bool(report["exit_status"]) for report in reports] == [False, True, False, True, False]
    assert failures.INIT_FAILURE not in [report["exit_status"] for report in reports]
