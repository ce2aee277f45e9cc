"""The first and the last moments of commands: ^C, closed streams, too little memory, something not installed."""

import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

CHECKOUT = Path(__file__).parents[2]
COMMANDS = {
    "aioboinc": [str(Path(sys.executable).with_name("aioboinc")), "--version"],
    "python -m aioboinc": [sys.executable, "-m", "aioboinc", "--version"],
    "validator": [sys.executable, "-m", "aioboinc.daemons.validator", "--help"],
    "assimilator": [sys.executable, "-m", "aioboinc.daemons.assimilator", "--help"],
    "transitioner": [sys.executable, "-m", "aioboinc.daemons.transitioner", "--help"],
    "bench": [sys.executable, "-m", "bench", "--help"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupt_while_modules_are_imported(name, tmp_path):
    """A module that all commands import sends it, and then takes its time as a slow disk does."""
    (tmp_path / "sqlite3.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    )
    for module in ("logging", "asyncio"):
        (tmp_path / module).mkdir(exist_ok=True)
        shutil.copy(tmp_path / "sqlite3.py", tmp_path / module / "__init__.py")
    finished = subprocess.run(
        COMMANDS[name],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (130, "", "")


def test_bench_from_a_checkout_that_is_not_installed(tmp_path):
    for name in ("aioboinc", "bench", "daemons", "slave_runtime", "tests", "setup.cfg"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    for module in ("bench", "aioboinc"):
        finished = subprocess.run(
            [sys.executable, "-S", "-m", module, "--help"],
            cwd=tmp_path,
            env={},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert finished.returncode == 2, finished.stderr
        assert finished.stderr.count("\n") == 1
        assert finished.stderr.startswith(f"{module}: No module named ")
        assert f"-m pip install -e '{tmp_path}" in finished.stderr


@pytest.mark.parametrize("command", ["serve", "run"])
def test_what_a_command_alone_needs_is_not_installed(few_squares, command, tmp_path_factory):
    """A web server, or the bar on a terminal."""
    module = {"serve": "aiohttp", "run": "tqdm"}[command]
    folder = tmp_path_factory.mktemp("missing")
    (folder / f"{module}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{module}'\")")
    few_squares.environment["PYTHONPATH"] = str(folder)
    terminal, stderr = pty.openpty()
    command = {"serve": [*few_squares.command[:3], "serve"], "run": few_squares.command}[command]
    finished = subprocess.run(
        command, cwd=few_squares.folder, env=few_squares.environment, stderr=stderr, timeout=PATIENCE, check=False
    )
    os.close(stderr)
    complaint = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert finished.returncode == 2
    assert complaint.startswith(f"aioboinc: No module named '{module}': to install what it needs, run: ")
    assert complaint.count("\n") == 1
    assert few_squares.files() == set()


def run_closed(program, *descriptors):
    """Run *program* with these descriptors closed from the start; return what there is of its output."""
    shell = " ".join(f"{descriptor}>&-" for descriptor in descriptors)
    program.prefix = ["sh", "-c", f'exec "$@" {shell}', "sh"]
    return program.run()


@pytest.mark.parametrize("descriptors", [(1,), (2,), (0, 1, 2)])
def test_streams_that_are_closed(few_squares, descriptors):
    few_squares.write(
        app_master=(few_squares.folder / "app_master.py").read_text()
        + "\nwith open('answer', 'w') as file:\n    print(total, file=file)\n"
    )
    finished = run_closed(few_squares, *descriptors)
    assert finished.returncode == 0
    assert (few_squares.folder / "answer").read_text() == "30\n"
    assert few_squares.query("PRAGMA integrity_check") == [("ok",)]
    assert finished.stdout == ("" if 1 in descriptors else "The answer is 30\n")


def test_nobody_reads_the_output(sum_of_squares):
    """As with ``| head -1``: one line, and the same command goes on."""
    text = (sum_of_squares.folder / "app_master.py").read_text()
    sum_of_squares.write(app_master=text.replace("global total", "global total; print(output.value, flush=True)"))
    with subprocess.Popen(
        [*sum_of_squares.command[:4], "--quiet", *sum_of_squares.command[4:]],
        cwd=sum_of_squares.folder,
        env=sum_of_squares.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        complaint = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE
    assert complaint.count("\n") == 1
    assert "standard output was closed" in complaint
    assert sum_of_squares.run("--quiet").stdout.endswith("The answer is 328350\n")


def test_nobody_reads_the_progress(few_squares):
    read, write = os.pipe()
    os.close(read)
    finished = subprocess.run(
        few_squares.command,
        cwd=few_squares.folder,
        env=few_squares.environment,
        stdout=subprocess.PIPE,
        stderr=write,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(write)
    assert finished.stdout == "The answer is 30\n"


@pytest.mark.parametrize("megabytes", [60, 200, 330])
def test_too_little_memory(few_squares, megabytes):
    """One line, or it goes on; and with more memory there is the answer."""
    limit = megabytes << 20
    finished = subprocess.run(
        [*few_squares.command[:4], "--quiet", *few_squares.command[4:]],
        cwd=few_squares.folder,
        env=few_squares.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    if finished.returncode:
        assert (finished.returncode, finished.stdout) == (2, ""), finished.stderr
        assert finished.stderr.count("\n") == 1, finished.stderr
        assert "not enough memory" in finished.stderr
    else:
        assert megabytes > 200
        assert finished.stdout == "The answer is 30\n"
    assert few_squares.run("--quiet").stdout == "The answer is 30\n"
