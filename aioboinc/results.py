"""New results: rows that wait for a host, made from the project's output template.

They are what BOINC's ``create_result`` and ``process_result_template`` make, without upload certificates.
"""

from __future__ import annotations

import random as random_numbers
import re
from collections.abc import Iterable
from dataclasses import dataclass

from aioboinc import codec, connectors, errors, models
from aioboinc.project import OUTPUT_TEMPLATE, Project
from aioboinc.sql import expressions

__all__ = [
    "TEMPLATE",
    "TEMPLATE_TEXT",
    "New",
    "Template",
    "insert",
    "insert_first",
    "parse_template",
    "read_template",
]

TEMPLATE = OUTPUT_TEMPLATE
"""The output template of our workunits, relative to the project's root."""
TEMPLATE_TEXT = f"""\
<output_template>
    <file_info>
        <name><OUTFILE_0/></name>
        <generated_locally/>
        <upload_when_present/>
        <max_nbytes>{codec.LIMITS.size}</max_nbytes>
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

_MAX_DOCUMENT = 65535
"""Bytes of a blob."""
_MACRO = re.compile(r"<OUTFILE_(\w+)/>")
_system_random = random_numbers.SystemRandom()


@dataclass(frozen=True, slots=True)
class New:
    """A result to be."""

    workunitid: int
    name: str
    """The workunit's name, an underscore, a number that no other result of it has."""
    appid: int
    batch: int
    priority: int
    size_class: int = -1
    """-1, or the class for which BOINC's size regulator releases it."""


@dataclass(frozen=True, slots=True)
class Template:
    """An output template with the project's upload URL in it; only the files' names are missing."""

    pieces: tuple[str, ...]
    """Text around the macros."""
    suffixes: tuple[str, ...]
    """What each macro, ``<OUTFILE_0/>`` say, adds to the common name: ``0``."""

    def document(self, base: str) -> bytes:
        """Return the ``xml_doc_in`` of a result whose output files are named *base* and a suffix."""
        text = [self.pieces[0]]
        for suffix, piece in zip(self.suffixes, self.pieces[1:], strict=True):
            text += (base, suffix, piece)
        return "".join(text).encode()


def read_template(project: Project, name: str = TEMPLATE) -> Template:
    """Read the output template *name*, relative to the project's root. Blocks.

    Raises `errors.ProjectError` if it is missing, or if results of the project need upload certificates.
    """
    path = project.root / name
    if project.upload_certificates:
        raise errors.ProjectError(
            f"{project.root}: results need upload certificates, which only BOINC's transitioner makes: run that, "
            "or set dont_generate_upload_certificates and ignore_upload_certificates in config.xml"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise errors.ProjectError(f"output template {errors.describe(path, error)}") from None
    except UnicodeDecodeError:
        raise errors.ProjectError(f"output template {path}: not UTF-8") from None
    template = parse_template(text, project.upload_url)
    if len(template.document("x" * 255)) > _MAX_DOCUMENT:
        raise errors.ProjectError(f"output template {path}: too long")
    return template


def parse_template(text: str, upload_url: str) -> Template:
    """Take the text of an output template apart."""
    text = text.replace("<UPLOAD_URL/>", upload_url)
    begin = text.find("<output_template>")
    if begin >= 0:
        text = text[begin + len("<output_template>") :].partition("</output_template>")[0]
    parts = _MACRO.split(text.strip())
    return Template(tuple(parts[::2]), tuple(parts[1::2]))


async def insert(
    tx: connectors.Transaction,
    new: Iterable[New],
    template: Template,
    *,
    now: int,
    random: random_numbers.Random = _system_random,
) -> None:
    """Insert results, leaving out those whose name is there already.

    The number in the name of an output file is drawn from *random*: other hosts must not guess it.
    """
    rows = [
        {
            "workunitid": result.workunitid,
            "name": result.name,
            "appid": result.appid,
            "batch": result.batch,
            "priority": result.priority,
            "size_class": result.size_class,
            "server_state": (models.ServerState.UNSENT if result.size_class < 0 else models.ServerState.INACTIVE),
            "random": random.getrandbits(31),
            "xml_doc_in": template.document(f"{result.name}_r{random.getrandbits(31)}_"),
        }
        for result in new
    ]
    columns = await tx.columns("result")
    await tx.execute_many(_insert(tx.dialect, columns, now), rows)


async def insert_first(
    tx: connectors.Transaction,
    template: Template,
    *,
    most: int,
    batch: int,
    after: int,
    now: int,
    random: random_numbers.Random = _system_random,
) -> None:
    """Insert the first results of a batch's workunits with IDs greater than *after*, *most* of each at the most.

    The same as `insert`, but done by the database alone: it takes a fraction of the time, and no IDs to be read.
    The results of a workunit have IDs in a row: BOINC's transitioner takes that for granted.
    """
    parameters: dict[str, int | str] = {
        "batch": batch,
        "after": after,
        "unsent": models.ServerState.UNSENT,
        "secret": f"{random.getrandbits(128):x}",
        "piece0": template.pieces[0],
    }
    document = [":piece0"]
    for place, (suffix, piece) in enumerate(zip(template.suffixes, template.pieces[1:], strict=True), 1):
        document += ("w.base", f":suffix{place}", f":piece{place}")
        parameters |= {f"suffix{place}": suffix, f"piece{place}": piece}
    columns = await tx.columns("result")
    await tx.execute(_insert_first(tx.dialect, columns, document, most, now), parameters)


_VARYING = (
    "workunitid",
    "name",
    "appid",
    "batch",
    "priority",
    "size_class",
    "server_state",
    "random",
    "xml_doc_in",
)
_CONSTANT = {
    "outcome": "0",
    "client_state": "0",
    "hostid": "0",
    "userid": "0",
    "report_deadline": "0",
    "sent_time": "0",
    "received_time": "0",
    "cpu_time": "0",
    "xml_doc_out": "X''",
    "stderr_out": "X''",
    "file_delete_state": "0",
    "validate_state": "0",
    "claimed_credit": "0",
    "granted_credit": "0",
    "opaque": "0",
    "app_version_num": "0",
    "exit_status": "0",
    "teamid": "0",
    "elapsed_time": "0",
    "flops_estimate": "0",
    "app_version_id": "0",
    "runtime_outlier": "0",
    "peak_working_set_size": "0",
    "peak_swap_size": "0",
    "peak_disk_usage": "0",
}
_RANDOM = {
    "mysql": "(CONV(LEFT(SHA2(CONCAT(:secret, {what}, id, '_', number), 256), 8), 16, 10) & 2147483647)",
    "sqlite": "(random() & 2147483647)",
}
"""31 bits that other hosts can't guess."""
_FROM_WORKUNITS = {
    "mysql": "SELECT {values} FROM ({workunits}) w ORDER BY w.id, w.number",
    "sqlite": "WITH w AS MATERIALIZED ({workunits}) SELECT {values} FROM w ORDER BY w.id, w.number",
}
_UNLESS_THERE = {"mysql": "ON DUPLICATE KEY UPDATE id = id", "sqlite": "ON CONFLICT (name) DO NOTHING"}


def _insert(dialect: str, columns: Iterable[str], now: int) -> str:
    """Return the INSERT for a table with *columns*: older projects lack some."""
    values = {"create_time": str(int(now)), **_CONSTANT, **{name: f":{name}" for name in _VARYING}}
    known = {name: value for name, value in values.items() if name in columns}
    return f"INSERT INTO result ({', '.join(known)}) VALUES ({', '.join(known.values())}) {_UNLESS_THERE[dialect]}"


def _insert_first(dialect: str, columns: Iterable[str], document: Iterable[str], most: int, now: int) -> str:
    """Return the INSERT from workunits for a table with *columns*; *document* are the parts of ``xml_doc_in``."""
    numbers = " UNION ALL ".join(f"SELECT {number} AS number" for number in range(most))
    name = expressions.concatenation(dialect, ("name", "'_'", "number"))
    random, file_random = (_RANDOM[dialect].format(what=what) for what in ("''", "'file'"))
    base = expressions.concatenation(dialect, (name, "'_r'", file_random, "'_'"))
    workunits = (
        f"SELECT id, number, appid, batch, priority, {name} AS name, {base} AS base, {random} AS random"
        f" FROM workunit JOIN ({numbers}) n ON number < target_nresults WHERE batch = :batch AND id > :after"
    )
    values = {
        "create_time": str(int(now)),
        **_CONSTANT,
        "workunitid": "w.id",
        "name": "w.name",
        "appid": "w.appid",
        "batch": "w.batch",
        "priority": "w.priority",
        "size_class": "-1",
        "server_state": ":unsent",
        "random": "w.random",
        "xml_doc_in": expressions.concatenated_blob(dialect, document),
    }
    known = {name: value for name, value in values.items() if name in columns}
    rows = _FROM_WORKUNITS[dialect].format(values=", ".join(known.values()), workunits=workunits)
    return f"INSERT INTO result ({', '.join(known)}) {rows}"
