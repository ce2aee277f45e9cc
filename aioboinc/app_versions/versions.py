"""Versions of the application: the files that hosts get for each platform, their names and their signatures.

A file's name contains a hash of its content, because a name in a download directory can't get other content. The
documents have the form that BOINC's ``bin/update_versions`` reads and writes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import xml.etree.ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from aioboinc import errors
from aioboinc.app_versions import interpreters, runtime_archive, windows_launcher
from aioboinc.project import config, keys

__all__ = [
    "PLATFORMS",
    "File",
    "Platform",
    "document",
    "files",
    "is_ours",
    "is_signed",
    "kept_bundle",
    "label",
    "names",
    "public_key",
    "version_xml",
]

API_VERSION = "7.20.5"
"""BOINC's API version that the client sees: from 7.5 on, both sides use a memory-mapped file, and report CPU time."""

_RUNTIME, _KEY = "pyboinc_runtime", "pyboinc_key"
_PYTHON, _PYTHON_FILES = "pyboinc_python", "pyboinc_python_files"
"""Open names: the launchers' names of these files in a slot directory."""
_DIGITS = 16
"""Number of digits of a content's SHA-256 in a name."""
_NAME = re.compile(r"\.?pyboinc_(launcher|runtime|key|python)_.+")


@dataclass(frozen=True)
class Platform:
    """A kind of host."""

    name: str
    """BOINC's name."""
    friendly_name: str
    """As in the ``config.xml`` that BOINC's ``make_project`` writes."""
    launcher: str
    """The main program among `runtime_archive.files`."""

    @property
    def is_windows(self) -> bool:
        return self.name.startswith("windows")


PLATFORMS: Mapping[str, Platform] = MappingProxyType(
    {
        name: Platform(name, friendly_name, launcher)
        for name, launcher, friendly_name in (
            ("x86_64-pc-linux-gnu", "launcher.sh", "Linux running on an AMD x86_64 or Intel EM64T CPU"),
            ("aarch64-unknown-linux-gnu", "launcher.sh", "Linux running on ARM64"),
            ("x86_64-apple-darwin", "launcher.sh", "Intel 64-bit Mac OS 10.5 or later"),
            ("arm64-apple-darwin", "launcher.sh", "Mac OS running on ARM"),
            (
                "windows_x86_64",
                "launcher_x86_64.exe",
                "Microsoft Windows running on an AMD x86_64 or Intel EM64T CPU",
            ),
            ("windows_arm64", "launcher_arm64.exe", "Microsoft Windows running on ARM 64-bit"),
        )
    }
)
"""The platforms for which there are versions, by name."""


@dataclass(frozen=True)
class File:
    """A file of an application version."""

    name: str
    """Its name in the download directory, which no other content ever gets."""
    open_name: str | None
    """Its name in the slot directory; None for the main program."""
    data: bytes
    executable: bool = False
    copied: bool = False
    """Whether it is copied into the slot directory; otherwise a link file there says where it is."""

    @property
    def is_main_program(self) -> bool:
        return self.open_name is None


def label(version_num: int) -> str:
    """Return a version as BOINC writes it: 1.01 for 101."""
    return f"{version_num // 100}.{version_num % 100:02}"


def public_key(key: keys.PrivateKey, master_url: str) -> bytes:
    """Return the file by which hosts recognize the project's programs: the public key, and whose it is."""
    fields = {**json.loads(key.public_json), "project": master_url}
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def files(platform: Platform, key: bytes, bundle: interpreters.Bundle | None = None) -> list[File]:
    """Return the files of the version for *platform*, the main program first.

    *key* is what `public_key` returns. Blocks the first time.
    """
    runtime = runtime_archive.files()
    version = runtime_archive.VERSION
    launcher = runtime[platform.launcher]
    suffix = os.path.splitext(platform.launcher)[1]
    launcher_name = f"pyboinc_launcher_{version}"
    found = [
        File(_name(launcher_name, launcher, suffix), None, launcher, executable=True),
        _file(f"{_RUNTIME}_{version}", _RUNTIME, runtime[runtime_archive.ARCHIVE], ".zip"),
        _file(_KEY, _KEY, key, ".json"),
    ]
    if platform.is_windows:
        batch_file = runtime["launcher.bat"]
        name = _name(launcher_name, batch_file, ".bat")
        found.append(File(name, windows_launcher.BATCH_FILE, batch_file, copied=True))
    if bundle is not None:
        suffix = ".exe" if platform.is_windows else ""
        name = f"{_PYTHON}_{platform.name}"
        executable = File(_name(name, bundle.executable, suffix), _PYTHON, bundle.executable, executable=True)
        found += [executable, _file(name, _PYTHON_FILES, bundle.archive, ".tar.gz")]
    return found


def _file(stem: str, open_name: str, data: bytes, suffix: str) -> File:
    return File(_name(stem, data, suffix), open_name, data)


def _name(stem: str, data: bytes, suffix: str) -> str:
    return f"{stem}_{hashlib.sha256(data).hexdigest()[:_DIGITS]}{suffix}"


def version_xml(files: Sequence[File]) -> str:
    """Return the ``version.xml`` from which ``bin/update_versions`` makes the version."""
    parts = [
        "    <file>\n"
        f"        <physical_name>{file.name}</physical_name>\n"
        + ("        <main_program/>\n" if file.is_main_program else "")
        + (f"        <logical_name>{file.open_name}</logical_name>\n" if file.open_name else "")
        + ("        <copy_file/>\n" if file.copied else "")
        + "    </file>\n"
        for file in files
    ]
    return f"<version>\n{''.join(parts)}    <api_version>{API_VERSION}</api_version>\n</version>\n"


def document(
    files: Sequence[File], version_num: int, url: Callable[[str], str], key: keys.CodeSignPrivateKey
) -> str:
    """Return the ``xml_doc`` of the version with *files*, signed with the project's code signing *key*.

    *url* returns the URL of a file in the download directory.
    """
    infos = [
        f"<file_info>\n    <name>{file.name}</name>\n    <url>{url(file.name)}</url>\n"
        + ("    <executable/>\n" if file.executable else "")
        + f"    <file_signature>\n{keys.sign_file_md5(_md5(file), key)}    </file_signature>\n"
        f"    <nbytes>{len(file.data)}</nbytes>\n</file_info>\n"
        for file in files
    ]
    references = [
        f"<file_ref>\n    <file_name>{file.name}</file_name>\n"
        + (f"    <open_name>{file.open_name}</open_name>\n" if file.open_name else "")
        + ("    <copy_file/>\n" if file.copied else "")
        + ("    <main_program/>\n" if file.is_main_program else "")
        + "</file_ref>\n"
        for file in files
    ]
    return (
        f"{''.join(infos)}<app_version>\n    <app_name>{config.APP_NAME}</app_name>\n"
        f"    <version_num>{version_num}</version_num>\n    <api_version>{API_VERSION}</api_version>\n"
        f"{''.join(references)}</app_version>\n"
    )


def is_ours(name: str) -> bool:
    """Tell whether a name in a download directory is one that `files` gives, or a temporary one of these."""
    return _NAME.fullmatch(name) is not None


def names(xml_doc: str) -> list[str]:
    """Return the names of the files in a version's document; none if it is damaged."""
    return list(_signatures(xml_doc))


def is_signed(xml_doc: str, files: Sequence[File], key: keys.CodeSignPublicKey) -> bool:
    """Tell whether a document has *files*, these contents in this order, with valid signatures."""
    signatures = _signatures(xml_doc)
    return list(signatures) == [file.name for file in files] and all(
        keys.verify_file_md5(_md5(file), signatures[file.name], key) for file in files
    )


def kept_bundle(xml_doc: str, platform: Platform, download_dir: Path) -> interpreters.Bundle | None:
    """Return the interpreter that a version includes, None if there is none. Blocks.

    Raises `errors.ProjectError` if its files are missing from *download_dir*.
    """
    found = [name for name in names(xml_doc) if name.startswith(f"{_PYTHON}_{platform.name}_")]
    if len(found) != 2:
        return None
    try:
        executable, archive = ((download_dir / name).read_bytes() for name in found)
    except OSError as error:
        raise errors.ProjectError(
            f"{errors.describe(download_dir, error)}: the bundled Python for {platform.name} is missing; "
            "give it again with --python"
        ) from None
    return interpreters.Bundle(platform.name, executable, archive)


def _signatures(xml_doc: str) -> dict[str, str]:
    try:
        root = xml.etree.ElementTree.fromstring(f"<document>{xml_doc}</document>")
    except xml.etree.ElementTree.ParseError:
        return {}
    return {
        (info.findtext("name") or "").strip(): (info.findtext("file_signature") or "").strip()
        for info in root.iter("file_info")
    }


def _md5(file: File) -> str:
    return hashlib.md5(file.data, usedforsecurity=False).hexdigest()
