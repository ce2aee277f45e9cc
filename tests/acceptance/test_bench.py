"""The benchmarks run, and say what they have measured; how fast it was is of no interest here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).parents[2]
STAGES = ["submission", "transition", "validation", "assimilation", "handling"]


def bench(*options):
    """Run the benchmarks; return what they printed."""
    finished = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)])
def database(request):
    if request.param == "mariadb":
        request.getfixturevalue("mariadb")  # skips the test where there is none
    return request.param


def test_stages(database, tmp_path):
    report = tmp_path / "report.json"
    text = bench(*STAGES, "--jobs", 20, "--rounds", 2, "--database", database, "--json", report)
    document = json.loads(report.read_text())
    assert document["machine"]["file system"]
    assert [stage["name"] for stage in document["stages"]] == STAGES
    for stage in document["stages"]:
        assert f"{stage['name']}: 20 jobs, {database}, 2 rounds\n" in text
        assert stage["series"]
        for series in stage["series"]:
            assert series["name"] in text
            assert len(series["seconds"]) == 2
            assert series["median_rate"] > 0


def test_scale():
    text = bench("scale", "--jobs", 200)
    assert "handling: cost of a job, 200 beside 2" in text
    assert "largest memory, 200 jobs" in text


def test_end_to_end():
    text = bench("end-to-end", "--jobs", 8, "--rounds", 1)
    assert "aioboinc, embedded project, a process a job  :  ProcessPoolExecutor, nothing is kept" in text
    assert "first handle_result" in text


def test_markdown_and_plot(tmp_path):
    pytest.importorskip("matplotlib")
    options = ("--jobs", 5, "--rounds", 1, "--markdown", tmp_path / "table.md", "--plot", tmp_path / "plot.png")
    text = bench("handling", *options)
    table = (tmp_path / "table.md").read_text()
    assert table.startswith(
        "| stage | | a second | times as fast as |\n|---|---|---|---|\n| handling | aioboinc, new/"
    )
    assert table.rpartition("\n\n")[2].strip() in text
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options", [("--jobs", "0"), ("--beside", "/nowhere"), ("--database", "oracle")])
def test_options_that_do_not_work(options):
    finished = subprocess.run(
        [sys.executable, "-m", "bench", "handling", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr
