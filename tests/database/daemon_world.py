"""A project with batches, in which a test plays the hosts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from aioboinc import connectors, models, store
from aioboinc.passes import assimilation, deletion, transition, validation
from aioboinc.project import config, templates
from aioboinc.store import batches, jobs, submissions
from aioboinc.wire import envelope
from database import insertion

__all__ = [
    "APPID",
    "NOW",
    "OUTPUT_TEMPLATE",
    "PROGRAM",
    "World",
    "document",
    "input_sha256",
    "key",
    "output",
    "uploaded",
]

NOW = 1_800_000_000
APPID = 1
OUTPUT_TEMPLATE = """\
<output_template>
    <file_info>
        <name><OUTFILE_0/></name>
        <generated_locally/>
        <upload_when_present/>
        <max_nbytes>5000000</max_nbytes>
        <url><UPLOAD_URL/></url>
    </file_info>
    <result>
        <file_ref>
            <file_name><OUTFILE_0/></file_name>
            <open_name>pyboinc_output</open_name>
        </file_ref>
    </result>
</output_template>
"""
PROGRAM = hashlib.sha256(b"program").digest()


class World:
    """A project in *root* on a database with BOINC's tables. Its time, ``now``, stands still."""

    def __init__(self, connector: connectors.Connector, root: Path, database_url: str = "") -> None:
        self.connector = connector
        self.store = store.Store(connector)
        self.now = NOW
        self.submissions = submissions.Submissions(connector, clock=lambda: self.now)
        self.held = assimilation.HeldBatches()
        self.project = config.Project(
            root=root,
            name="test",
            master_url="http://127.0.0.1/test/",
            download_url="http://127.0.0.1/test/download",
            upload_url="http://127.0.0.1/test_cgi/file_upload_handler",
            download_dir=root / "download",
            upload_dir=root / "upload",
            key_dir=root / "keys",
            fanout=16,
            database_url=database_url,
            kind=config.Kind.BOINC,
            upload_certificates=False,
        )

    async def set_up(self) -> None:
        """Make the application, the directories, a team with a user with two hosts."""
        template = self.project.root / templates.OUTPUT
        for path in (template.parent, self.project.upload_dir, self.project.download_dir):
            path.mkdir(parents=True)
        template.write_text(OUTPUT_TEMPLATE)

        async def work(tx: connectors.Transaction) -> None:
            await insertion.insert(tx, "app", id=APPID, name="pyboinc")
            await insertion.insert(tx, "team", id=1, name="team")
            await insertion.insert(tx, "user", id=1, name="user", email_addr="a", authenticator="a", teamid=1)
            for host in (1, 2):
                await insertion.insert(tx, "host", id=host, userid=1)
                await insertion.insert(tx, "host_app_version", host_id=host, app_version_id=1, max_jobs_per_day=10)

        await self.connector.run(work)

    async def batch(self, directory: Path, *, token: str = "0" * 32) -> batches.Progress:
        """Make a batch with a batch directory."""
        for name in ("new", "old", "tmp"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        return await self.store.batches.find_or_create(
            token, appid=APPID, name="test", directory=str(directory), version=2
        )

    async def submit(
        self, batch: int, count: int, *, first: int = 0, last: bool = True, made: bool = True, **options: int
    ) -> list[str]:
        """Submit jobs to a batch, with their first results if they are *made*; return their names."""
        names = [f"pyboinc_{batch}_{number}" for number in range(first, first + count)]
        asked = jobs.Options(**{"quorum": 1, "target_nresults": options.get("quorum", 1), **options})
        template = templates.read(self.project) if made else None
        made = [jobs.Job(jobs.Form(asked, (document(name),)), {"name": name}) for name in names]
        keys = b"".join(map(key, range(first, first + count)))
        chunk = jobs.Chunk(first, first, made, keys, "{}", "0" * 64, template)
        await self.submissions.commit(batch, APPID, chunk)
        if last:
            await self.store.batches.submitted(batch, first + count)
        return names

    async def send(self, name: str, *, host: int = 1, deadline: int = 86400) -> None:
        """Send the result *name* to a host."""
        await self._change(
            name,
            condition=f"server_state = {models.ServerState.UNSENT}",
            server_state=models.ServerState.IN_PROGRESS,
            hostid=host,
            userid=1,
            sent_time=self.now,
            app_version_id=1,
            report_deadline=self.now + deadline,
        )
        await self.execute(
            "UPDATE workunit SET transition_time = :deadline WHERE transition_time > :deadline AND id ="
            " (SELECT workunitid FROM result WHERE name = :name)",
            deadline=self.now + deadline,
            name=name,
        )

    async def report(self, name: str, *, seconds: int = 10, **values: Any) -> None:
        """Let the host of the result *name* report it, a success unless *values* say something else."""
        values = {"outcome": models.Outcome.SUCCESS, "client_state": models.ClientState.FILES_UPLOADED, **values}
        await self._change(
            name,
            server_state=models.ServerState.OVER,
            received_time=self.now,
            elapsed_time=seconds,
            cpu_time=seconds,
            flops_estimate=2e9,
            **values,
        )
        await self.execute(
            "UPDATE workunit SET transition_time = :now"
            " WHERE id = (SELECT workunitid FROM result WHERE name = :name)",
            now=self.now - 1,
            name=name,
        )

    async def _change(self, name: str, *, condition: str = "1 = 1", **values: Any) -> None:
        """Change the result *name*, as far as its table has columns for it."""

        async def work(tx: connectors.Transaction) -> None:
            known = [column for column in await tx.columns("result") if column in values]
            changes = ", ".join(f"{column} = :{column}" for column in known)
            await tx.execute(
                f"UPDATE result SET {changes} WHERE name = :name AND {condition}", {**values, "name": name}
            )

        await self.connector.run(work)

    async def compute(self, name: str, value: Any, *, host: int = 1, seconds: int = 10) -> None:
        """Let a host compute and report the result *name*: *value*, or the file itself if that is bytes."""
        await self.send(name, host=host)
        path = await self.output_path(name)
        path.parent.mkdir(exist_ok=True)
        data = value if isinstance(value, bytes) else output(name.rpartition("_")[0], value)
        path.write_bytes(data)
        await self.report(name, seconds=seconds, xml_doc_out=uploaded(path.name, data))

    async def fail(self, name: str, *, exit_status: int = 1, stderr: str = "") -> None:
        """Let a host fail on the result *name*."""
        await self.send(name)
        await self.report(
            name,
            outcome=models.Outcome.CLIENT_ERROR,
            client_state=models.ClientState.COMPUTE_ERROR,
            validate_state=models.ValidateState.INVALID,
            exit_status=exit_status,
            stderr_out=f"<core_client_version>7.20.5</core_client_version>\n<![CDATA[\n<message>\nprocess exited"
            f"</message>\n<stderr_txt>\n{stderr}\n</stderr_txt>\n]]>\n".encode(),
        )

    async def output_path(self, name: str) -> Path:
        """Where the output file of the result *name* belongs."""
        (row,) = await self.rows("SELECT xml_doc_in FROM result WHERE name = :name", name=name)
        file = row["xml_doc_in"].decode().partition("<file_name>")[2].partition("<")[0]
        return Path(self.project.upload_path(file))

    async def transition(self, **options: Any) -> int:
        return await transition.one_pass(self.store, self.project, appid=APPID, now=self.now, **options)

    async def validate(self, **options: Any) -> int:
        policy = options.pop("policy", validation.Policy())
        clock = options.pop("clock", lambda: self.now)
        return await validation.one_pass(
            self.store, self.project, appid=APPID, policy=policy, clock=clock, **options
        )

    async def assimilate(self, **options: Any) -> int:
        clock = options.pop("clock", lambda: self.now)
        return await assimilation.one_pass(
            self.store, self.project, self.held, appid=APPID, clock=clock, monotonic=clock, **options
        )

    async def delete(self, **options: Any) -> int:
        return await deletion.one_pass(self.store, self.project, appid=APPID, **options)

    async def settle(self, **policy: Any) -> None:
        """Let all daemons work until there is nothing left to do now."""
        while True:
            self.now += 1
            done = await self.transition(limit=3)
            done += await self.validate(limit=3, policy=validation.Policy(**policy))
            done += await self.assimilate(limit=3)
            done += await self.delete(limit=3)
            if not done:
                return

    async def rows(self, query: str, **params: Any) -> list[dict[str, Any]]:
        return await self.connector.read(lambda tx: tx.fetch_all(query, params))

    async def execute(self, query: str, **params: Any) -> int:
        return await self.connector.run(lambda tx: tx.execute(query, params))

    async def workunit(self, name: str) -> dict[str, Any]:
        (row,) = await self.rows("SELECT * FROM workunit WHERE name = :name", name=name)
        return row

    async def results(self, workunit: str) -> list[dict[str, Any]]:
        return await self.rows(
            "SELECT r.* FROM result r JOIN workunit w ON w.id = r.workunitid WHERE w.name = :name ORDER BY r.id",
            name=workunit,
        )

    async def result(self, name: str) -> dict[str, Any]:
        (row,) = await self.rows("SELECT * FROM result WHERE name = :name", name=name)
        return row

    async def counts(self, batch: int) -> tuple[int, int]:
        (row,) = await self.rows("SELECT nassimilated, nerrors FROM pyboinc_batch WHERE id = :id", id=batch)
        return row["nassimilated"], row["nerrors"]


def key(number: int) -> bytes:
    """Return the key of the call of the job *number*."""
    return hashlib.sha256(str(number).encode()).digest()[:16]


def input_sha256(job: str) -> bytes:
    return hashlib.sha256(job.encode()).digest()


def output(job: str, value: Any) -> bytes:
    """Return the output file of an honest host."""
    return envelope.encode_output(job, input_sha256(job), PROGRAM, value, None)


def uploaded(name: str, data: bytes) -> bytes:
    """Return the ``xml_doc_out`` of a host that has sent the file *name*."""
    return (
        f"<file_info><name>{name}</name>\n    <nbytes>{len(data)}.000000</nbytes>\n"
        "    <max_nbytes>5000000.000000</max_nbytes>\n"
        f"    <md5_cksum>{hashlib.md5(data).hexdigest()}</md5_cksum>\n"
        "    <upload_url>http://127.0.0.1/test_cgi/file_upload_handler</upload_url></file_info>\n"
    ).encode()


def document(job: str) -> str:
    """Return the ``xml_doc`` of a workunit."""
    files = {
        f"pyboinc_program_{PROGRAM.hex()}.zip": "pyboinc_program",
        f"{job}_{input_sha256(job).hex()}": "pyboinc_input",
    }
    infos = "".join(
        f"<file_info>\n    <name>{name}</name>\n    <url>http://x/{name}</url>\n</file_info>\n" for name in files
    )
    refs = "".join(
        f"<file_ref>\n    <file_name>{name}</file_name>\n    <open_name>{open_name}</open_name>\n</file_ref>\n"
        for name, open_name in files.items()
    )
    return f"{infos}<workunit>\n{refs}</workunit>"


def published(directory):
    """Return the contents of the files in a batch directory's ``new/``, by name."""
    return {path.name: path.read_bytes() for path in (directory / "new").iterdir()}
