"""Which program files a host runs: those of the project, and nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from aioboinc.program import archive, bundle, signed_archive
from aioboinc.project import keys
from aioboinc.slave_runtime import program_file, signature, unpacking

PROJECT = "http://example.org/test/"
PRIVATE = keys.PrivateKey(rsa.generate_private_key(65537, 2048))
KEY = signature.parse(PRIVATE.public_json)
FILES = {"app_slave.py": b"print('slave')\n", "app_types.py": b"class Input: pass\n", "data/table.txt": b"1 2 3\n"}
MODULES = {"app_types": "app_types.py"}


def manifest(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "pyboinc_program": 1,
        "slave": "app_slave.py",
        "modules": MODULES,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()},
        "project": PROJECT,
    }
    return json.dumps({**fields, **changes}).encode()


def members(data: bytes | None = None, key: keys.PrivateKey = PRIVATE) -> dict[str, bytes]:
    data = manifest() if data is None else data
    return {"MANIFEST.json": data, "SIGNATURE": key.sign(data), **FILES}


def unpack(tmp_path: Path, content: bytes, key: signature.PublicKey = KEY) -> program_file.Program:
    path = tmp_path / "program.zip"
    path.write_bytes(content)
    return unpacking.unpack(str(path), str(tmp_path / "unpacked"), key)


def test_a_program_of_the_project_is_unpacked(tmp_path: Path) -> None:
    content = archive.build(members().items())
    unpacked = unpack(tmp_path, content)
    assert unpacked == program_file.Program(
        str(tmp_path / "unpacked"), "app_slave.py", MODULES, hashlib.sha256(content).digest()
    )
    for name, data in FILES.items():
        assert (tmp_path / "unpacked" / name).read_bytes() == data
        assert not (tmp_path / "unpacked" / name).stat().st_mode & 0o222


def test_what_the_library_builds_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    (folder / "pack").mkdir(parents=True)
    (folder / "app_slave.py").write_text("from pack import inner\nimport app_types\n")
    (folder / "app_types.py").write_text("class Input: pass\n")
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "pack" / "inner.py").write_text("")
    (folder / "é.txt").write_text("é")
    sources = bundle.collect(folder / "app_slave.py", ["é.txt"])
    unpacked = unpack(tmp_path, signed_archive.build(sources, PROJECT, PRIVATE))
    assert unpacked.modules == sources.modules
    assert {name: (Path(unpacked.root) / name).read_bytes() for name in sources.files} == sources.files


def test_what_was_there_before_is_gone(tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / "left_over.py").write_text("")
    unpack(tmp_path, archive.build(members().items()))
    assert not (tmp_path / "unpacked" / "left_over.py").exists()
    unpack(tmp_path, archive.build(members().items()))


def alter(name: str) -> Callable[[dict[str, bytes]], object]:
    def change(files: dict[str, bytes]) -> None:
        files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(alter("app_slave.py"), "was altered: app_slave.py", id="a file"),
        pytest.param(alter("data/table.txt"), "was altered: data/table.txt", id="data"),
        pytest.param(alter("MANIFEST.json"), "signature", id="the manifest"),
        pytest.param(alter("SIGNATURE"), "signature", id="the signature"),
        pytest.param(
            lambda files: files.update({"sitecustomize.py": b""}), "differ: sitecustomize", id="one more"
        ),
        pytest.param(lambda files: files.pop("app_types.py"), "differ: app_types.py", id="one less"),
        pytest.param(lambda files: files.pop("SIGNATURE"), "not signed", id="no signature"),
        pytest.param(lambda files: files.pop("MANIFEST.json"), "not signed", id="no manifest"),
        pytest.param(lambda files: files.update(SIGNATURE=b""), "signature", id="an empty signature"),
        pytest.param(lambda files: files.update(SIGNATURE=b"x" * 2000), "not signed", id="a long signature"),
        pytest.param(lambda files: files.clear(), "not signed", id="nothing"),
    ],
)
def test_a_program_that_was_altered_is_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], object], reason: str
) -> None:
    files = members()
    change(files)
    with pytest.raises(program_file.Refused, match=reason):
        unpack(tmp_path, archive.build(files.items()))
    assert not (tmp_path / "unpacked" / "sitecustomize.py").exists()


def test_a_program_that_somebody_else_signed_is_refused(tmp_path: Path) -> None:
    other = keys.PrivateKey(rsa.generate_private_key(65537, 2048))
    with pytest.raises(program_file.Refused, match="signature"):
        unpack(tmp_path, archive.build(members(key=other).items()))


def test_a_program_for_another_project_is_refused(tmp_path: Path) -> None:
    content = archive.build(members().items())
    unpack(tmp_path, content, signature.PublicKey(KEY.n, KEY.e, PROJECT))
    with pytest.raises(program_file.Refused, match=f"another project, {PROJECT}"):
        unpack(tmp_path, content, signature.PublicKey(KEY.n, KEY.e, "http://example.org/other/"))


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/x",
        "a/../../x",
        "a//x",
        "./x",
        "",
        "a/",
        "C:x",
        "C:\\x",
        "a\\x",
        "x\0y",
        "x\n",
        "a/..",
        "MANIFEST.json",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused_though_it_is_signed(tmp_path: Path, name: str) -> None:
    data = manifest(slave=name, files={name: hashlib.sha256(b"").hexdigest()}, modules={})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("MANIFEST.json", data)
        file.writestr("SIGNATURE", PRIVATE.sign(data))
        if name and "\0" not in name and name != "MANIFEST.json":
            file.writestr(zipfile.ZipInfo(name), b"")
    with pytest.raises(program_file.Refused, match="unsafe name"):
        unpack(tmp_path, buffer.getvalue())
    assert sorted(os.listdir(tmp_path)) == ["program.zip"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pyboinc_program": 2}, "format 2"),
        ({"slave": "other.py"}, "no slave"),
        ({"modules": {"x": "other.py"}}, "module x"),
        ({"modules": {"": "app_types.py"}}, "module"),
        ({"modules": 7}, "malformed"),
        ({"modules": {"x": []}}, "module x"),
        ({"files": ["app_slave.py"]}, "malformed"),
        ({"files": {"app_slave.py": 7}}, "malformed"),
        ({"slave": []}, "no slave"),
        ({"files": {"A.py": "0", "a.py": "0"}}, "one on some file systems"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused_though_it_is_signed(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(program_file.Refused, match=reason):
        unpack(tmp_path, archive.build(members(manifest(**changes)).items()))


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"{", b"\xff", b"[" * 100000])
def test_a_manifest_that_is_none_is_refused_though_it_is_signed(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(program_file.Refused, match="malformed"):
        unpack(tmp_path, archive.build(members(data).items()))


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = archive.build([*members().items(), ("app_slave.py", b"evil")])
    with pytest.raises(program_file.Refused, match=r"two members app_slave\.py"):
        unpack(tmp_path, content)


def test_a_member_that_is_compressed_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members().items():
            file.writestr(name, content)
    with pytest.raises(program_file.Refused, match="no plain file"):
        unpack(tmp_path, buffer.getvalue())


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members().items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK if name == "app_types.py" else stat.S_IFREG) << 16
            file.writestr(entry, content)
    with pytest.raises(program_file.Refused, match=r"no plain file: app_types\.py"):
        unpack(tmp_path, buffer.getvalue())


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK", b"x" * 1000):
        with pytest.raises(program_file.Refused, match="damaged"):
            unpack(tmp_path, content)


def test_no_damage_goes_unnoticed(tmp_path: Path) -> None:
    """Wherever bytes are lost or changed: what is unpacked is what was signed, or nothing runs."""
    content = archive.build(members().items())
    damaged = [content[:size] for size in range(0, len(content), 37)]
    damaged += [
        content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]
        for at in range(0, len(content), 3)
        for mask in (1, 255)
    ]
    for changed in damaged:
        try:
            unpacked = unpack(tmp_path, changed)
        except program_file.Refused:
            continue
        assert {name: (Path(unpacked.root) / name).read_bytes() for name in FILES} == FILES
        assert unpacked.sha256 != hashlib.sha256(content).digest()


def test_a_file_that_is_missing_is_the_hosts_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        unpacking.unpack(str(tmp_path / "program.zip"), str(tmp_path / "unpacked"), KEY)
