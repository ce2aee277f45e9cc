"""The file of a program: a signed zip archive whose bytes depend only on the sources, the project and the key.

::

    MANIFEST.json   canonical JSON: format, slave, modules {name: path}, files {path: SHA-256}, project
    SIGNATURE       RSA PKCS#1 v1.5 with SHA-256 over the bytes of MANIFEST.json
    ...             the files, sorted by path
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aioboinc.program import archive
from aioboinc.project import keys

if TYPE_CHECKING:
    from aioboinc.program import bundle

__all__ = ["MANIFEST", "SIGNATURE", "build", "digest"]

_FORMAT = 1
MANIFEST = "MANIFEST.json"
SIGNATURE = "SIGNATURE"


def build(sources: bundle.Sources, project: str, key: keys.PrivateKey) -> bytes:
    """Return the program file for the project with the master URL *project*, signed with *key*."""
    description = _description(sources.slave, sources.files, sources.modules)
    manifest = _canonical({**description, "project": project})
    return archive.build([(MANIFEST, manifest), (SIGNATURE, key.sign(manifest)), *sorted(sources.files.items())])


def digest(slave: str, files: Mapping[str, bytes], modules: Mapping[str, str]) -> str:
    """Return the SHA-256, in hexadecimal, of what the manifest says about these files, for any project."""
    return hashlib.sha256(_canonical(_description(slave, files, modules))).hexdigest()


def _description(slave: str, files: Mapping[str, bytes], modules: Mapping[str, str]) -> dict[str, object]:
    return {
        "pyboinc_program": _FORMAT,
        "slave": slave,
        "modules": dict(modules),
        "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
    }


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"
