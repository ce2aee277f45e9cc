"""The files of an embedded project. The functions block; done again after a crash they finish what was begun."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import io
import marshal
import os
import re
import secrets
import shutil
import zipfile
from pathlib import Path

from aioboinc import errors, printable
from aioboinc.aio import durable
from aioboinc.app_versions import runtime_archive
from aioboinc.embedded import layout
from aioboinc.embedded.process.messages import CHECKPOINTS
from aioboinc.project import config, templates
from aioboinc.slave_runtime import init_data, slot
from aioboinc.wire import documents

__all__ = ["create", "salvage_checkpoints", "unpack_runtime"]

_CONFIG = """\
<?xml version="1.0" ?>
<boinc>
    <config>
        <long_name>{name}</long_name>
        <database_url>sqlite:project.sqlite</database_url>
        <uldl_dir_fanout>1024</uldl_dir_fanout>
        <dont_generate_upload_certificates>1</dont_generate_upload_certificates>
        <ignore_upload_certificates>1</ignore_upload_certificates>
        <master_url>{url}</master_url>
        <download_url>{url}download</download_url>
        <upload_url>{url}file_upload_handler</upload_url>
        <download_dir>download</download_dir>
        <upload_dir>upload</upload_dir>
        <key_dir>keys</key_dir>
        <app_dir>apps</app_dir>
        <log_dir>log</log_dir>
    </config>
    <tasks>
    </tasks>
    <daemons>
    </daemons>
</boinc>
"""
_PACKAGE = Path(__file__).parents[1]
_UNCHECKED = (0b01).to_bytes(4, "little")
"""Flags of a compiled module that is not compared with its source: no copy is ever changed."""
_PYC_HEADER = 16
"""Bytes of a compiled module before its code."""
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def create(root: Path) -> config.Project:
    """Return the embedded project in *root*, which is made if it isn't there. Raises `errors.ProjectError`."""
    try:
        for name in layout.DIRECTORIES:
            (root / name).mkdir(parents=True, exist_ok=True)
        if not (root / "config.xml").exists():
            durable.write(root / templates.OUTPUT, templates.OUTPUT_TEXT.encode())
            # A name that nothing will ever answer to: the project is on no network.
            url = f"http://{secrets.token_hex(8)}.invalid/pyboinc/"
            name = documents.escape(printable.line(f"Embedded project of {root.parent.name}"))
            durable.write(root / "config.xml", _CONFIG.format(name=name, url=url).encode())
            durable.sync(root)
    except OSError as error:
        raise errors.ProjectError(f"the embedded project can't be made: {errors.describe(root, error)}") from None
    return config.read(root)


def unpack_runtime(root: Path) -> Path:
    """Return the directory with what local hosts' processes import: the runtime of all hosts, and their own part.

    Raises `errors.ProjectError`.
    """
    modules = {path.name: path.read_bytes() for path in sorted((Path(__file__).parent / "process").glob("*.py"))}
    digest = hashlib.sha256(runtime_archive.build() + b"".join(modules.values())).hexdigest()
    directory = root / "runtime" / digest[:16]
    if directory.exists():
        _remove_damaged_bytecode(directory)
        return directory
    temporary = directory.with_name(f"{directory.name}.{secrets.token_hex(4)}")
    try:
        with zipfile.ZipFile(io.BytesIO(runtime_archive.build())) as archive:
            archive.extractall(temporary)
        process = temporary / "aioboinc" / "embedded" / "process"
        process.mkdir(parents=True)
        (process.parent / "__init__.py").touch()
        for name, content in modules.items():
            (process / name).write_bytes(content)
        _compile(temporary / "aioboinc")
        os.replace(temporary, directory)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise errors.ProjectError(f"the runtime can't be unpacked: {errors.describe(directory, error)}") from None
    return directory


def _compile(package: Path) -> None:
    """Write the bytecode of the copies of our modules in *package*, as it is for ours: each host would compile them."""
    for path in package.rglob("*.py"):
        ours = _PACKAGE / path.relative_to(package)
        source = path.read_bytes()
        if ours.read_bytes() != source:
            continue
        code = importlib.machinery.SourceFileLoader(path.stem, str(ours)).get_code(path.stem)
        header = importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(source)
        compiled = Path(importlib.util.cache_from_source(path))
        compiled.parent.mkdir(exist_ok=True)
        compiled.write_bytes(header + marshal.dumps(code))


def _remove_damaged_bytecode(directory: Path) -> None:
    """Remove what Python has written half where the disk was full: it would take it for whole."""
    for path in directory.rglob("*.pyc"):
        try:
            marshal.loads(path.read_bytes()[_PYC_HEADER:])
        except (EOFError, ValueError, TypeError):
            path.unlink()


def salvage_checkpoints(root: Path) -> dict[str, Path]:
    """Return the checkpoints of jobs that were interrupted, by their workunits' names.

    Of a workunit of several calls there may be a file with the finished ones, named .calls, beside it or alone.
    """
    for directory in (root / "slots").iterdir():
        if directory.is_symlink():
            raise errors.ProjectError(f"{directory}: a symbolic link, and not made by aioboinc; move it away")
        there = [(directory / name, suffix) for name, suffix in CHECKPOINTS.items() if (directory / name).exists()]
        init = init_data.read(str(directory / slot.INIT_DATA)) if there else None
        if init is not None and _NAME.fullmatch(init.wu_name):
            for path, suffix in there:
                os.replace(path, root / "checkpoints" / f"{init.wu_name}{suffix}")
    names = {path.name.removesuffix(CHECKPOINTS[slot.CALLS]) for path in (root / "checkpoints").iterdir()}
    return {name: root / "checkpoints" / name for name in names}
