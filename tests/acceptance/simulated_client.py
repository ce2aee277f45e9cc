"""A BOINC client as far as a project sees it: the same requests over HTTP, without the waiting."""

from __future__ import annotations

import hashlib
import io
import re
import secrets
import xml.etree.ElementTree
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from aioboinc.wire import codec, documents, envelope, names, several

__all__ = ["Client", "Finished", "Task"]

_REQUEST = (Path(__file__).parents[1] / "data" / "scheduler_request.xml").read_text()
"""A request of the stock client 7.20.5."""
_RESULTS = re.compile(r"<result>.*</result>\n", re.DOTALL)
_OTHER_RESULTS = re.compile(r"<other_results>.*</other_results>", re.DOTALL)


@dataclass(frozen=True)
class Task:
    """A result that the client has got."""

    name: str
    workunit: str
    xml_doc: str
    """The workunit's element, as it came."""
    inputs: dict[str, str]
    """Open names of the input files, and their URLs."""
    output: str
    """Name of the output file."""
    max_nbytes: int
    upload_url: str
    deadline: int
    flops_estimate: float

    def answer(self, function: Callable[[object], object], data: bytes, most: int = 1 << 20) -> bytes:
        """Return the output of the job: of *function*, for the input file's *data*; of several calls *most* at most."""
        identity = documents.identity(self.workunit, self.xml_doc)
        if names.count_of(self.workunit) > 1:
            _, inputs = several.decode_inputs(data)
            values = [function(codec.decode(each, codec.OPAQUE)) for each in inputs[:most]]
            pieces = [codec.encode([True, value]) for value in values]
            return envelope.encode_calls(identity.job, identity.input_sha256, identity.program_sha256, pieces)
        value = function(codec.decode(data, codec.OPAQUE))
        return envelope.encode_output(
            identity.job, identity.input_sha256, identity.program_sha256, value, codec.Registry()
        )


@dataclass(frozen=True)
class Finished:
    """A result that the client reports."""

    name: str
    exit_status: int = 0
    state: int = 5
    elapsed: float = 1.0
    stderr: str = "done"


@dataclass
class Reply:
    """A scheduler's reply."""

    root: xml.etree.ElementTree.Element
    tasks: list[Task] = field(default_factory=list)

    def names(self, tag: str) -> list[str]:
        """Return the names in the elements *tag*."""
        return [element.findtext("name", "").strip() for element in self.root.iterfind(tag)]

    def text(self, tag: str) -> str:
        return self.root.findtext(tag, "").strip()

    @property
    def messages(self) -> list[str]:
        return [element.text or "" for element in self.root.iterfind("message")]


class Client:
    """One client, one host."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, *, name: str = "host", ncpus: int = 2):
        self.session = session
        self.url = url
        self.key = key
        self.name = name
        self.ncpus = ncpus
        self.cpid = secrets.token_hex(16)
        self.hostid = 0
        self.rpc_seqno = 0
        self.code_sign_key = ""
        self.shares_machine = True
        self.headers: dict[str, str] = {}
        self.claims: dict[str, object] = {}
        """What it says in place of what the recorded client said, by the names of elements."""
        self.tasks: dict[str, Task] = {}
        """What it has and has not reported."""

    def request(
        self,
        seconds: float,
        instances: float,
        reports: Iterable[Finished] = (),
        *,
        others: Sequence[str] | None = None,
    ) -> str:
        """Return a scheduler request."""
        reported = [_result(report) for report in reports]
        names = self.tasks.keys() - {report.name for report in reports} if others is None else others
        text = _RESULTS.sub(lambda _: "".join(reported), _REQUEST)
        held = "".join(f"<other_result>\n<name>{name}</name>\n</other_result>\n" for name in names)
        text = _OTHER_RESULTS.sub(lambda _: f"<other_results>\n{held}</other_results>", text)
        values = {
            "authenticator": self.key,
            "hostid": self.hostid,
            "rpc_seqno": self.rpc_seqno,
            "allow_multiple_clients": int(self.shares_machine),
            "cpu_req_secs": seconds,
            "cpu_req_instances": instances,
            "host_cpid": self.cpid,
            "domain_name": self.name,
            "p_ncpus": self.ncpus,
            "code_sign_key": f"\n{self.code_sign_key}\n",
            **self.claims,
        }
        for name, value in values.items():
            replacement = f"<{name}>{value}</{name}>" if value != "\n\n" else ""
            text = re.sub(f"<{name}>[^<]*</{name}>", replacement.replace("\\", r"\\"), text)
        return text

    async def call(
        self,
        seconds: float = 0,
        instances: float = 0,
        reports: Sequence[Finished] = (),
        *,
        others: Sequence[str] | None = None,
    ) -> Reply:
        """Send a request, and take in the reply."""
        return self.take_in(await self._send(self.request(seconds, instances, reports, others=others)))

    async def lose_reply(self, seconds: float, instances: float, reports: Sequence[Finished] = ()) -> None:
        """Send a request of which the reply never arrives."""
        await self._send(self.request(seconds, instances, reports))

    async def _send(self, request: str) -> str:
        self.rpc_seqno += 1
        async with self.session.post(
            f"{self.url}scheduler", data=io.BytesIO(request.encode()), headers=self.headers
        ) as response:
            assert response.status == 200
            return await response.text()

    def take_in(self, text: str) -> Reply:
        """Do what a reply says."""
        reply = Reply(xml.etree.ElementTree.fromstring(text))
        if reply.text("hostid"):
            self.hostid = int(reply.text("hostid"))
            self.rpc_seqno = 0
        if reply.text("code_sign_key"):
            self.code_sign_key = reply.text("code_sign_key")
        for name in reply.names("result_ack"):
            self.tasks.pop(name, None)
        reply.tasks = list(_tasks(reply.root, text))
        self.tasks.update((task.name, task) for task in reply.tasks)
        return reply

    async def get(self, url: str) -> bytes:
        """Download a file."""
        async with self.session.get(url) as response:
            assert response.status == 200, url
            return await response.read()

    async def upload(self, task: Task, data: bytes, **fields: object) -> str:
        """Upload the output of *task*; return the reply."""
        return await self.upload_file(task.output, data, **fields)

    async def upload_file(self, name: str, data: bytes, **fields: object) -> str:
        values = {
            "nbytes": len(data),
            "md5_cksum": hashlib.md5(data).hexdigest(),
            "offset": 0,
            "max_nbytes": 5000000,
            **fields,
        }
        offset = int(str(values["offset"]))
        head = (
            "<data_server_request>\n    <core_client_major_version>7</core_client_major_version>\n<file_upload>\n"
            f"<file_info>\n<name>{name}</name>\n<xml_signature>\n</xml_signature>\n"
            f"<max_nbytes>{values['max_nbytes']}</max_nbytes>\n</file_info>\n<nbytes>{values['nbytes']}</nbytes>\n"
            f"<md5_cksum>{values['md5_cksum']}</md5_cksum>\n<offset>{offset}</offset>\n<data>\n"
        )
        return await self.post(head.encode() + data[offset:])

    async def uploaded_size(self, name: str) -> str:
        return await self.post(
            f"<data_server_request>\n<get_file_size>{name}</get_file_size>\n</data_server_request>\n".encode()
        )

    async def post(self, body: bytes) -> str:
        """Send *body* to the upload handler."""
        async with self.session.post(f"{self.url}file_upload_handler", data=io.BytesIO(body)) as response:
            assert response.status == 200
            return await response.text()

    async def compute(self, task: Task, function: Callable[[object], object], most: int = 1 << 20) -> Finished:
        """Download, compute, upload; of several calls the first *most* only, as if the others took too long."""
        await self.get(task.inputs["pyboinc_program"])
        data = await self.get(task.inputs["pyboinc_input"])
        assert "<status>0</status>" in await self.upload(task, task.answer(function, data, most))
        return Finished(task.name)


def _result(report: Finished) -> str:
    return (
        f"<result>\n    <name>{report.name}</name>\n    <final_cpu_time>{report.elapsed:f}</final_cpu_time>\n"
        f"    <final_elapsed_time>{report.elapsed:f}</final_elapsed_time>\n"
        f"    <exit_status>{report.exit_status}</exit_status>\n    <state>{report.state}</state>\n"
        "    <platform>x86_64-pc-linux-gnu</platform>\n    <version_num>101</version_num>\n"
        "    <app_version_num>101</app_version_num>\n<stderr_out>\n<core_client_version>7.20.5</core_client_version>\n"
        f"<![CDATA[\n<stderr_txt>\n{report.stderr}\n</stderr_txt>\n]]>\n</stderr_out>\n</result>\n"
    )


def _tasks(root: xml.etree.ElementTree.Element, text: str) -> Iterable[Task]:
    files = {info.findtext("name", "").strip(): info for info in root.iterfind("file_info")}
    workunits = {workunit.findtext("name", "").strip(): workunit for workunit in root.iterfind("workunit")}
    for result in root.iterfind("result"):
        workunit = workunits[result.findtext("wu_name", "").strip()]
        output = result.findtext("file_ref/file_name", "").strip()
        yield Task(
            name=result.findtext("name", "").strip(),
            workunit=workunit.findtext("name", "").strip(),
            xml_doc=xml.etree.ElementTree.tostring(workunit, "unicode"),
            inputs={
                reference.findtext("open_name", ""): _url(files[reference.findtext("file_name", "")])
                for reference in workunit.iterfind("file_ref")
            },
            output=output,
            max_nbytes=int(files[output].findtext("max_nbytes", "0")),
            upload_url=_url(files[output]),
            deadline=int(result.findtext("report_deadline", "0")),
            flops_estimate=float(workunit.findtext("rsc_fpops_est", "0")),
        )


def _url(info: xml.etree.ElementTree.Element) -> str:
    return info.findtext("url", "").strip()
