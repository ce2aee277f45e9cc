"""A program file on the host: is it the project's, is it whole, and its files unpacked.

The file is a zip archive of stored entries: ``MANIFEST.json``, ``SIGNATURE`` over the manifest's bytes, and
exactly the files that the manifest lists with their SHA-256.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import stat
import sys
import unicodedata
import zipfile
from typing import Dict, List, Mapping, Set

from . import program_file, signature

__all__ = ["MAX_BYTES", "unpack"]

MANIFEST = "MANIFEST.json"
SIGNATURE = "SIGNATURE"
FORMAT = 1
MAX_BYTES = 1 << 30
"""A program file is not larger: what a master may build is far below."""
_MAX_MANIFEST_BYTES = 16 << 20
_MAX_SIGNATURE_BYTES = 1024
_BLOCK = 1 << 20
_UNSAFE = frozenset('\\:*?"<>|')


def unpack(path: str, directory: str, key: signature.PublicKey) -> program_file.Program:
    """Check the program file *path* and unpack it into *directory*, which is emptied first.

    Raises program_file.Refused for a file that is not, in every byte, what the owner of *key* signed for the key's
    project; OSError if the host can't read or write. Blocks.
    """
    sha256 = _sha256(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            manifest = _manifest(archive, members, key)
            expected = set(manifest.files) | {MANIFEST, SIGNATURE}
            if set(members) != expected:
                wrong = min(set(members) ^ expected)
                raise program_file.Refused(f"the program file and its manifest differ: {wrong}")
            shutil.rmtree(directory, ignore_errors=True)
            for name, digest in sorted(manifest.files.items()):
                _extract(archive, members[name], os.path.join(directory, *name.split("/")), digest)
    except (zipfile.BadZipFile, EOFError, ValueError, OverflowError, RuntimeError) as error:
        raise program_file.Refused(f"the program file is damaged: {error}") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # zipfile went where the archive told it to
            raise program_file.Refused(f"the program file is damaged: {error}") from error
        raise
    return program_file.Program(directory, manifest.slave, manifest.modules, sha256)


@dataclasses.dataclass(frozen=True)
class _Manifest:
    slave: str
    modules: Mapping[str, str]
    files: Mapping[str, str]


def _sha256(path: str) -> bytes:
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            size += len(block)
            if size > MAX_BYTES:
                raise program_file.Refused(f"the program file has more than {MAX_BYTES} bytes")
            digest.update(block)
    return digest.digest()


def _members(archive: zipfile.ZipFile) -> Dict[str, zipfile.ZipInfo]:
    members: Dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        if member.filename in members:
            raise program_file.Refused(f"the program file has two members {member.filename}")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 or kind not in (0, stat.S_IFREG):
            raise program_file.Refused(f"the program file has a member that is no plain file: {member.filename}")
        if member.file_size != member.compress_size:
            raise program_file.Refused(f"the program file is damaged: {member.filename}")
        members[member.filename] = member
    return members


def _manifest(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], key: signature.PublicKey
) -> _Manifest:
    for name, limit in ((MANIFEST, _MAX_MANIFEST_BYTES), (SIGNATURE, _MAX_SIGNATURE_BYTES)):
        if name not in members or members[name].file_size > limit:
            raise program_file.Refused("the program is not signed")
    data = archive.read(members[MANIFEST])
    if not signature.verify(data, archive.read(members[SIGNATURE]), key):
        raise program_file.Refused("the signature of the program is not that of the project")
    # From here on the content is what the master wrote; it is checked all the same.
    try:
        fields = json.loads(data.decode("utf-8"))
        if fields["pyboinc_program"] != FORMAT:
            raise program_file.Refused(
                f"the program has format {fields['pyboinc_program']}, this runtime knows {FORMAT}"
            )
        project = fields["project"]
        manifest = _Manifest(fields["slave"], dict(fields["modules"]), dict(fields["files"]))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise program_file.Refused(f"the program's manifest is malformed: {error}") from error
    if key.project is not None and project != key.project:
        raise program_file.Refused(f"the program was signed for another project, {project}")
    _check_names(manifest)
    return manifest


def _check_names(manifest: _Manifest) -> None:
    spellings: Set[str] = set()
    for name, digest in manifest.files.items():
        if not _is_safe(name) or name in (MANIFEST, SIGNATURE):
            raise program_file.Refused(f"the program has a file with an unsafe name: {name!r}")
        if not isinstance(digest, str):
            raise program_file.Refused(f"the program's manifest is malformed: {name}")
        spellings.add(unicodedata.normalize("NFC", name).casefold())
    if len(spellings) != len(manifest.files):
        raise program_file.Refused("the program has two files that are one on some file systems")
    for name, path in manifest.modules.items():
        if not isinstance(path, str) or path not in manifest.files or not name:
            raise program_file.Refused(f"the program has no file for its module {name}")
    if not isinstance(manifest.slave, str) or manifest.slave not in manifest.files:
        raise program_file.Refused("the program has no slave file")


def _is_safe(name: str) -> bool:
    parts: List[str] = name.split("/")
    return name.isprintable() and not _UNSAFE & set(name) and not {"", ".", ".."} & set(parts)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str, expected: str) -> None:
    digest = hashlib.sha256()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with archive.open(member) as source, open(path, "wb") as target:
        for block in iter(lambda: source.read(_BLOCK), b""):
            digest.update(block)
            target.write(block)
    if digest.hexdigest() != expected:
        os.unlink(path)
        raise program_file.Refused(f"the program was altered: {member.filename}")
    if sys.platform != "win32":  # there, what can't be written can't be deleted either
        os.chmod(path, 0o444)
