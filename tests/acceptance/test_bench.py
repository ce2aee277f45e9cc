"""The benchmarks run, and say what they have measured; how fast it was is of no interest here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def bench(*options):
    """Run the benchmarks; return what they printed."""
    finished = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)])
def database(request):
    if request.param == "mariadb":
        request.getfixturevalue("mariadb")  # skips the test where there is none
    return request.param


@pytest.mark.parametrize("stage", ["submission", "transition", "validation", "assimilation", "handling"])
def test_stage(stage, database, tmp_path):
    report = tmp_path / "report.json"
    text = bench(stage, "--jobs", 20, "--rounds", 2, "--database", database, "--json", report)
    assert text.startswith(f"{stage}: 20 jobs, {database}, 2 rounds\n")
    document = json.loads(report.read_text())
    (measured,) = document["stages"]
    assert document["machine"]["file system"]
    assert measured["series"]
    for series in measured["series"]:
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


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    bench("handling", "--jobs", 5, "--rounds", 1, "--plot", tmp_path / "plot.png")
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
