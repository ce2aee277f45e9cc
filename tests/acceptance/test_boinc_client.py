"""A served project with the stock BOINC client: two hosts, and all that goes wrong in a life.

The tests share a server and two clients, which are attached to it; each has batches of its own, and works alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import served
import stock_client
from patience import PATIENCE
from stock_client import StockClient, wait_for
from test_serve_process import Process

from aioboinc.project import config
from aioboinc.serve import served_project

pytestmark = pytest.mark.boinc_client

MASTER = """
    import json
    from aioboinc import RemoteError, pyboinc_call, pyboinc_master

    outcomes = []

    def handle_error(error):
        remote = isinstance(error, RemoteError)
        outcomes.append({
            "error": str(error),
            "remote": error.traceback if remote else None,
            "results": [] if remote else [[r.exit_status, r.stderr] for r in error.results],
        })

    async def make_calls():
        for number in range(COUNT):
            await pyboinc_call("slave.py", number, OPTIONS)

    await pyboinc_master(make_calls, outcomes.append, handle_error=handle_error)
    print(json.dumps(outcomes))
"""
STEPS = """
    import os, pathlib, time
    folder = pathlib.Path({folder!r})
    step, pids = pyboinc_restore() or (0, [])
    pids.append(os.getpid())
    (folder / f"begun_{{os.getpid()}}").touch()
    while step < 20 or not (folder / "may_end").exists():
        time.sleep(0.1)
        step = min(step + 1, 20)
        pyboinc_fraction_done(step / 20)
        pyboinc_checkpoint((step, pids))
    pyboinc_return_output([step, len(pids)])
"""
"""A slave that takes two seconds at least, ends when the test lets it, and returns how often it was begun."""


_CALL_AGAIN = 4.0
"""Seconds after which the clients are made to call: they would do so after a minute or two."""


class Master:
    """A master that runs."""

    def __init__(self, lab: Lab, name: str, slave: str, count: int = 1, **options: object) -> None:
        self.folder = lab.path / name
        self.folder.mkdir()
        keywords = ", ".join(f"{key}={value!r}" for key, value in options.items())
        master = MASTER.replace("COUNT", str(count)).replace("OPTIONS", keywords)
        (self.folder / "slave.py").write_text(textwrap.dedent(slave.format(folder=str(self.folder))))
        (self.folder / "app_master.py").write_text(textwrap.dedent(master))
        self._lab = lab
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "aioboinc", "run", "--quiet", "--project", str(self._lab.root)]
        self._process = subprocess.Popen(
            [*command, "app_master.py"], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def batch(self) -> int:
        """Return the ID of the batch, once its jobs are there."""
        checkpoint = self.folder / "pyboinc_checkpoint"
        wait_for(
            "batch",
            lambda: (
                checkpoint.exists() and json.loads(checkpoint.read_text())["state"] in {"submitted", "finished"}
            ),
            log=self._lab.log,
        )
        return int(json.loads(checkpoint.read_text())["batch"])

    def result(self) -> str:
        """Return the name of the first result."""
        return f"pyboinc_{self.batch()}_0_0"

    def wait_begun(self, times: int) -> None:
        """Wait until STEPS was begun so often, on all hosts."""
        self._lab.wait_for(f"begun {times} times", lambda: len(list(self.folder.glob("begun_*"))) == times)

    def let_end(self) -> None:
        """Let STEPS end."""
        (self.folder / "may_end").touch()

    def outcomes(self) -> list[object]:
        """Return the outputs and errors, when the master is through."""
        output, complaints = self._lab.end_of(self._process)
        assert self._process.returncode == 0, complaints
        outcomes: list[object] = json.loads(output)
        return outcomes

    def close(self) -> None:
        with self._process as process:
            process.kill()


@dataclass
class Lab:
    """A server and two clients."""

    path: Path
    root: Path
    server: Process
    clients: list[StockClient]

    def log(self) -> str:
        return "\n".join(f"--- {client.directory.name}\n{client.log()[-5000:]}" for client in self.clients)

    def attach(self) -> None:
        """Attach the clients to the project: one to the owner's account, the other to one of its own."""
        url = config.read(self.root).master_url
        anna, bert = self.clients
        anna.attach(url, (self.root / "account_key").read_text().strip())
        made = bert.command("--create_account", url, "bert@example.org", "password", "bert")
        found = bert.command("--lookup_account", url, "bert@example.org", "password")
        key = found.partition("account key: ")[2].strip()
        assert key
        assert key in made
        bert.attach(url, key)
        wait_for("hosts", lambda: self.query("SELECT COUNT(*) FROM host") == [(2,)], log=self.log)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Ask the project's database."""
        with contextlib.closing(sqlite3.connect(self.root / "project.sqlite", timeout=PATIENCE)) as database:
            return database.execute(sql).fetchall()

    def network(self, mode: str) -> None:
        """Let the clients call ``always``, or ``never``."""
        for client in self.clients:
            client.command("--set_network_mode", mode)

    def update(self) -> None:
        """Let the clients call now."""
        url = config.read(self.root).master_url
        for client in self.clients:
            client.command("--project", url, "update")

    def end_of(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """Wait for the end of a master; return what it says and complains of."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=_CALL_AGAIN)
            self.update()
        process.kill()
        pytest.fail(f"the batch does not end\n{self.log()}")

    def holder(self, result: str) -> StockClient:
        """Return the client that executes *result*, as soon as one does."""
        found: list[StockClient] = []

        def look() -> bool:
            found[:] = [client for client in self.clients if client.running(result)]
            return bool(found)

        self.wait_for(f"{result} is executed", look)
        return found[0]

    def wait_for(self, what: str, ready: Callable[[], object]) -> None:
        """Wait until *ready* returns something true; let the clients call meanwhile."""
        due = time.monotonic()

        def look() -> object:
            nonlocal due
            if time.monotonic() >= due:
                self.update()
                due = time.monotonic() + _CALL_AGAIN
            return ready()

        wait_for(what, look, log=self.log)


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory, require: Callable[[str, str | None, str], Path]
) -> Iterator[Lab]:
    program = str(require("the BOINC client", stock_client.find(), "apt-get install boinc-client"))
    path = tmp_path_factory.mktemp("lab")
    root = path / "project"
    served_project.create(root, listen=f"127.0.0.1:{served.free_port()}", url=None, database=None)
    served.edit_config(root, min_sendwork_interval=0, next_rpc_delay=3)
    server = Process(root, "--open-accounts")
    server.start()
    clients = [StockClient(program, path / name, served.free_port()) for name in ("anna", "bert")]
    lab = Lab(path, root, server, clients)
    try:
        for client in clients:
            client.start()
        lab.attach()
        yield lab
    finally:
        for client in clients:
            client.close()
        server.close()


def test_batches_of_all_kinds(lab: Lab) -> None:
    """Several masters at once, one of them killed; every result is computed on two hosts."""
    lab.network("never")
    squares = Master(lab, "squares", "pyboinc_return_output(pyboinc_get_input() ** 2)", count=4)
    raises = Master(lab, "raises", "1 / pyboinc_get_input()")
    exits = Master(lab, "exits", "import sys\nprint('no', file=sys.stderr)\nsys.exit(3)", max_error_results=1)
    several = Master(lab, "several", "pyboinc_return_output(1 / (2 - pyboinc_get_input()))", count=6, chunk=3)
    altered = Master(lab, "altered", "pyboinc_return_output('harmless')", max_error_results=1)
    alter_program(lab.root, altered.batch())
    squares.batch()
    squares.close()
    squares.start()
    lab.network("always")
    lab.update()

    assert sorted(squares.outcomes(), key=str) == [0, 1, 4, 9]
    (raised,) = raises.outcomes()
    assert isinstance(raised, dict)
    assert "ZeroDivisionError" in raised["error"]
    assert 'File "slave.py", line 1' in raised["remote"]
    *shared, failed = sorted(several.outcomes(), key=lambda outcome: isinstance(outcome, dict))
    assert sorted(shared) == [1 / (2 - number) for number in (3, 4, 5, 0, 1)]
    assert isinstance(failed, dict)
    assert "ZeroDivisionError" in failed["error"]
    assert lab.query(f"SELECT COUNT(*) FROM workunit WHERE batch = {several.batch()}") < [(6,)]
    (exited,) = exits.outcomes()
    assert isinstance(exited, dict)
    assert [status for status, _ in exited["results"]] == [3, 3]
    assert all("no" in stderr for _, stderr in exited["results"])
    (refused,) = altered.outcomes()
    assert isinstance(refused, dict)
    assert len(refused["results"]) == 2
    for status, stderr in refused["results"]:
        assert status not in {0, 3}
        assert "the program was altered: slave.py" in stderr

    hosts = lab.query(
        "SELECT COUNT(DISTINCT hostid) FROM result WHERE outcome = 1"
        f" AND batch IN ({squares.batch()}, {raises.batch()}, {exits.batch()}, {altered.batch()}) GROUP BY workunitid"
    )
    assert hosts == [(2,)] * 5
    # The client takes everything that it is told, and what it can check, it has checked.
    assert "SCHEDULER_REPLY::parse" not in lab.log()
    assert "Signature verification" not in lab.log()


def test_suspended_and_resumed(lab: Lab) -> None:
    master = Master(lab, "suspended", STEPS, quorum=1)
    result = master.result()
    client = lab.holder(result)
    url = config.read(lab.root).master_url
    client.command("--task", url, result, "suspend")
    wait_for("suspended", lambda: not client.running(result), log=lab.log)
    client.command("--task", url, result, "resume")
    master.let_end()
    assert master.outcomes() == [[20, 1]]


def test_the_client_is_killed_and_the_slave_goes_on_from_its_checkpoint(lab: Lab) -> None:
    master = Master(lab, "killed_client", STEPS, quorum=1)
    result = master.result()
    client = lab.holder(result)
    wait_for("begun", lambda: float(client.tasks()[result].get("fraction done", 0)) > 0.2, log=lab.log)
    client.kill()
    client.start()
    master.wait_begun(2)
    master.let_end()
    assert master.outcomes() == [[20, 2]]


def test_the_server_is_killed(lab: Lab) -> None:
    master = Master(lab, "killed_server", STEPS, quorum=2)
    batch = master.batch()
    master.wait_begun(2)
    lab.server.end(signal.SIGKILL)
    master.let_end()
    wait_for(
        "each has tried to upload in vain",
        lambda: all(f"failed upload of pyboinc_{batch}_0_" in client.log() for client in lab.clients),
        log=lab.log,
    )
    lab.server.start()
    for client in lab.clients:
        client.command("--network_available")  # or else they would try again after minutes
    lab.update()
    assert master.outcomes() == [[20, 1]]


def alter_program(root: Path, batch: int) -> None:
    """Put another slave into the program of a batch, with all that BOINC checks."""
    project = config.read(root)
    with sqlite3.connect(root / "project.sqlite") as database:
        ((document,),) = database.execute("SELECT xml_doc FROM workunit WHERE batch = ?", (batch,))
        name = document.decode().partition("<name>")[2].partition("</name>")[0]
        path = Path(project.download_path(name))
        before = path.read_bytes()
        altered = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(before)) as old, zipfile.ZipFile(altered, "w") as new:
            for member in old.infolist():
                data = old.read(member)
                new.writestr(member, data.replace(b"harmless", b"harmful!"))
        after = altered.getvalue()
        path.write_bytes(after)
        for old_value, new_value in (
            (hashlib.md5(before).hexdigest(), hashlib.md5(after).hexdigest()),
            (f"<nbytes>{len(before)}</nbytes>", f"<nbytes>{len(after)}</nbytes>"),
        ):
            document = document.replace(old_value.encode(), new_value.encode())
        database.execute("UPDATE workunit SET xml_doc = ? WHERE batch = ?", (document, batch))
