"""The daemons as a project runs them: processes, options, signals, logs."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys

import pytest
from patience import PATIENCE

from aioboinc import connectors, sql
from database.daemon_world import World, output

DAEMONS = ("transitioner", "validator", "assimilator")
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{4} \[PID=\d+\] \[(CRITICAL|warning|normal|debug)\]  \S.*")

CONFIG = """\
<boinc>
    <config>
        <master_url>http://127.0.0.1/test/</master_url>
        <download_url>http://127.0.0.1/test/download</download_url>
        <upload_url>http://127.0.0.1/test_cgi/file_upload_handler</upload_url>
        <download_dir>download</download_dir>
        <upload_dir>upload</upload_dir>
        <key_dir>keys</key_dir>
        <uldl_dir_fanout>16</uldl_dir_fanout>
        <database_url>{database_url}</database_url>
        <dont_generate_upload_certificates>1</dont_generate_upload_certificates>
    </config>
</boinc>
"""


class Project:
    """A project directory, and its daemons."""

    def __init__(self, root):
        self.root = root
        self.directory = root.parent / "batch"
        self.url = f"sqlite://{root / 'project.sqlite'}"
        self.environment = {name: value for name, value in os.environ.items() if name != "BOINC_PROJECT_DIR"}

    def play(self, scene):
        """Run the coroutine function *scene* with a `World` on the project's database."""

        async def run():
            async with connectors.open(self.url) as connector:
                await connector.script(sql.schema(connector.dialect))
                world = World(connector, self.root, self.url)
                # The daemons go by the clock of the machine: let all that happens here be past.
                world.now = 1_700_000_000
                return await scene(world)

        return asyncio.run(run())

    def submit(self, count, **options):
        async def scene(world):
            if not self.directory.exists():
                await world.set_up()
                (self.root / "config.xml").write_text(CONFIG.format(database_url=self.url))
            batch = await world.batch(self.directory)
            return await world.submit(batch.id, count, first=batch.njobs, last=False, **options)

        return self.play(scene)

    def compute(self, jobs, *values):
        """Let hosts compute the results of *jobs*."""

        async def scene(world):
            for job in jobs:
                for number, value in enumerate(values or (job,)):
                    await world.compute(f"{job}_{number}", value)

        self.play(scene)

    def counts(self):
        return self.play(lambda world: world.counts(1))

    def command(self, daemon, *options):
        return [sys.executable, "-E", "-P", "-m", f"aioboinc.daemons.{daemon}", *options]

    def once(self, daemon, *options, cwd=None, **environment):
        """Run a daemon for one pass."""
        return subprocess.run(
            self.command(daemon, "--one_pass", *options),
            cwd=cwd or self.root,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    @contextlib.contextmanager
    def running(self, daemon, *options):
        """Run a daemon meanwhile; it has looked at the database when this begins."""
        with subprocess.Popen(
            self.command(daemon, *options), cwd=self.root, env=self.environment, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                wait_for(process, "Starting")
                yield process
            finally:
                process.kill()

    def published(self):
        return {path.name: path.read_bytes() for path in (self.directory / "new").iterdir()}


def wait_for(process, text):
    """Read the log up to a line with *text*."""
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(f"ended without {text!r}")


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    return Project(root)


def test_one_pass_of_each(project):
    jobs = project.submit(5)
    project.compute(jobs)
    for daemon, line in zip(DAEMONS, ("", "validated 5 workunits", "assimilated 5 workunits"), strict=True):
        finished = project.once(daemon)
        assert (finished.returncode, finished.stdout) == (0, "")
        assert all(LINE.fullmatch(logged) for logged in finished.stderr.splitlines())
        assert "[normal]  Starting; application pyboinc\n" in finished.stderr
        assert finished.stderr.endswith(f"[normal]  {line}\n" if line else "Starting; application pyboinc\n")
    assert project.published() == {job: output(job, job) for job in jobs}
    assert project.counts() == (5, 0)


def test_log_levels(project):
    project.submit(1, made=False)
    assert "[debug]  1 workunits advanced" in project.once("transitioner", "-d", "4").stderr
    assert project.once("transitioner", "-d", "2").stderr == ""


def test_it_is_found_as_boinc_starts_it(project, tmp_path):
    project.submit(1)
    started = project.root / "tmp_host"
    started.mkdir()
    assert project.once("validator", cwd=started).returncode == 0
    assert project.once("validator", cwd=tmp_path, BOINC_PROJECT_DIR=str(project.root)).returncode == 0
    assert project.once("validator", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize("daemon", DAEMONS)
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_signals(project, daemon, number):
    project.submit(1)
    with project.running(daemon) as process:
        process.send_signal(number)
        assert f"Quitting due to {number.name}" in wait_for(process, "Quitting")
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""


def test_the_stop_file(project):
    project.submit(1)
    stop_file = project.root / "stop_daemons"
    with project.running("validator") as process:
        stop_file.touch()
        assert f"Quitting because trigger file '{stop_file}' is present" in wait_for(process, "Quitting")
        assert process.wait(PATIENCE) == 0
    finished = project.once("assimilator")
    assert finished.returncode == 0
    assert "Starting" not in finished.stderr


def test_they_work_together(project):
    jobs = project.submit(3, quorum=2)
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(project.running(daemon, "--sleep_interval", "0.2")) for daemon in DAEMONS]
        for job in jobs:
            project.compute([job], "agreed", "agreed")
            wait_for(processes[-1], "assimilated 1 workunits")
        assert project.published() == {job: output(job, "agreed") for job in jobs}
        for process in processes:
            process.terminate()
            assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("daemon", ["validator", "assimilator"])
def test_killed_at_any_moment(project, daemon):
    jobs = project.submit(60)
    project.compute(jobs)
    project.once("transitioner")
    if daemon == "assimilator":
        project.once("validator")
    with project.running(daemon) as process:
        process.kill()
        process.wait(PATIENCE)
    # Killed again as soon as there is something to see of its work.
    if daemon == "assimilator":
        with project.running(daemon) as process:
            while not project.published():
                assert process.poll() is None
            process.kill()
            process.wait(PATIENCE)
    else:
        assert project.once(daemon).returncode == 0
    assert project.once("assimilator").returncode == 0
    assert project.published() == {job: output(job, job) for job in jobs}
    assert project.counts() == (60, 0)


@pytest.mark.parametrize("options", [(["--mod", "2", "0"], ["--mod", "2", "1"]), ([], [])])
def test_two_of_each(project, options):
    jobs = project.submit(40)
    project.compute(jobs)
    for daemon in DAEMONS:
        processes = [
            subprocess.Popen(
                project.command(daemon, "--one_pass", *own),
                cwd=project.root,
                env=project.environment,
                stderr=subprocess.DEVNULL,
            )
            for own in options
        ]
        assert [process.wait(PATIENCE) for process in processes] == [0, 0]
    assert project.published() == {job: output(job, job) for job in jobs}
    assert project.counts() == (40, 0)


def test_credit(project):
    jobs = project.submit(2)
    project.compute(jobs)
    project.once("transitioner")

    def credit():
        query = "SELECT SUM(granted_credit) AS credit FROM result"
        return project.play(lambda world: world.rows(query))[0]["credit"]

    project.once("validator", "--no_credit", "--mod", "2", "0")
    assert credit() == 0
    project.once("validator", "--max_granted_credit", "1e9")
    assert credit() == pytest.approx(10 * 2e9 * 200 / 86400e9)


def test_comparators(project):
    jobs = project.submit(1, quorum=2)
    project.compute(jobs, 1.0, 1.25)
    (project.root / "bin").mkdir()
    (project.root / "bin" / "ours.py").write_text("def same(one, other):\n    return round(one) == round(other)\n")
    project.once("transitioner")
    finished = project.once("validator", "--comparator", "ours:same")
    assert "validated 1 workunits" in finished.stderr
    project.once("assimilator")
    assert project.published() == {jobs[0]: output(jobs[0], 1.0)}


@pytest.mark.parametrize(
    ("daemon", "options", "message"),
    [
        ("validator", ["--app", "other"], "has no application other; run: python -m aioboinc setup"),
        ("validator", ["--comparator", "fuzzy"], "comparator 'fuzzy': give bitwise"),
        ("validator", ["--comparator", "nowhere:f"], "No module named 'nowhere'"),
        ("validator", ["--no_credit", "--credit_from_wu"], "not allowed with"),
        ("assimilator", ["--mod", "2", "2"], "argument --mod: 2 2: give N and R with 0 <= R < N"),
        ("assimilator", ["--mod", "0", "0"], "argument --mod"),
        ("assimilator", ["--sleep_interval", "0"], "must be a positive number of seconds"),
        ("assimilator", ["-d", "9"], "argument -d/--debug_level: invalid choice"),
        ("transitioner", ["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_errors_take_one_line(project, daemon, options, message):
    project.submit(1)
    finished = project.once(daemon, *options)
    assert finished.returncode == 2
    *started, line = finished.stderr.splitlines()
    assert started == []
    assert message in line


def test_a_project_that_needs_certificates(project):
    project.submit(1, made=False)
    config = project.root / "config.xml"
    config.write_text(
        config.read_text()
        .replace("<dont_generate_upload_certificates>1", "<x>1")
        .replace("</dont_generate_upload_certificates>", "</x>")
    )
    finished = project.once("transitioner")
    assert finished.returncode == 2
    assert "which only BOINC's transitioner makes" in finished.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "config.xml").write_text("<boinc>"), "not well-formed"),
        (lambda root: (root / "project.sqlite").write_bytes(b"x" * 5000), "not an SQLite database"),
    ],
)
def test_a_damaged_project(project, damage, message):
    project.submit(1)
    for path in project.root.glob("project.sqlite-*"):
        path.unlink()
    damage(project.root)
    finished = project.once("validator")
    assert finished.returncode == 2
    assert message in finished.stderr
    assert finished.stderr.count("\n") == 1
