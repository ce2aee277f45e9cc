import json
import xml.etree.ElementTree

import pytest

from aioboinc import errors
from aioboinc.aio import durable
from aioboinc.app_versions import interpreters, runtime_archive, versions, windows_launcher
from aioboinc.project import keys

LINUX = versions.PLATFORMS["x86_64-pc-linux-gnu"]
WINDOWS = versions.PLATFORMS["windows_arm64"]
BUNDLE = interpreters.Bundle(LINUX.name, b"executable", b"archive")
KEY = b'{"e":65537,"n":"c0"}\n'


@pytest.fixture(scope="module")
def code_sign(tmp_path_factory):
    directory = tmp_path_factory.mktemp("keys")
    keys.create_code_sign_keys(directory)
    private = keys.load_code_sign_private(directory / "code_sign_private")
    return private, keys.load_code_sign_public(directory / "code_sign_public")


def url(name):
    return f"http://example.org/download/{name}"


def test_files():
    launcher, runtime, key = versions.files(LINUX, KEY)
    assert launcher.is_main_program
    assert launcher.executable
    assert launcher.name.endswith(".sh")
    assert runtime.open_name == "pyboinc_runtime"
    assert runtime.data == runtime_archive.build()
    assert (key.open_name, key.data) == ("pyboinc_key", KEY)
    assert not runtime.executable
    assert all(versions.is_ours(file.name) for file in (launcher, runtime, key))


def test_files_for_windows():
    launcher, runtime, key, batch_file = versions.files(WINDOWS, KEY)
    assert launcher.is_main_program
    assert launcher.name.endswith(".exe")
    assert launcher.data == windows_launcher.build("arm64")
    # cmd.exe can't read what the client writes in place of a file that it does not copy.
    assert (batch_file.open_name, batch_file.copied) == ("pyboinc_launcher.bat", True)
    assert batch_file.name.endswith(".bat")
    assert not any(file.copied for file in (launcher, runtime, key))
    assert versions.is_ours(batch_file.name)
    assert versions.version_xml([launcher, runtime, key, batch_file]).count("<copy_file/>") == 1


def test_a_name_has_one_content():
    names = {file.name for platform in versions.PLATFORMS.values() for file in versions.files(platform, KEY)}
    assert len(names) == 6  # a shell script, two executables and a batch file, the runtime, the key
    other = versions.files(LINUX, KEY + b" ")
    assert other[-1].name != versions.files(LINUX, KEY)[-1].name


def test_files_with_an_interpreter():
    *_, executable, archive = versions.files(LINUX, KEY, BUNDLE)
    assert (executable.open_name, executable.executable) == ("pyboinc_python", True)
    assert (archive.open_name, archive.executable) == ("pyboinc_python_files", False)
    assert archive.name.endswith(".tar.gz")
    *_, executable, _ = versions.files(WINDOWS, KEY, BUNDLE)
    assert executable.name.endswith(".exe")


def test_version_xml():
    files = versions.files(LINUX, KEY, BUNDLE)
    text = versions.version_xml(files)
    root = xml.etree.ElementTree.fromstring(text)
    assert [file.findtext("physical_name") for file in root.iter("file")] == [file.name for file in files]
    assert [file.findtext("logical_name") for file in root.iter("file")] == [file.open_name for file in files]
    assert [file.find("main_program") is not None for file in root.iter("file")] == [True] + [False] * 4
    assert root.findtext("api_version") == "7.20.5"
    assert "'" not in text  # update_versions puts it into SQL as it is


def test_document(code_sign):
    private, public = code_sign
    files = versions.files(LINUX, KEY)
    document = versions.document(files, 101, url, private)
    assert document.startswith(
        f"<file_info>\n    <name>{files[0].name}</name>\n    <url>{url(files[0].name)}</url>\n    <executable/>\n"
        "    <file_signature>\n"
    )
    assert document.endswith(
        "</app_version>\n",
    )
    assert "<version_num>101</version_num>" in document
    assert versions.names(document) == [file.name for file in files]
    assert versions.is_signed(document, files, public)


def test_document_for_windows(code_sign):
    private, public = code_sign
    files = versions.files(WINDOWS, KEY)
    document = versions.document(files, 101, url, private)
    assert versions.is_signed(document, files, public)
    assert document.count("<copy_file/>") == 1
    assert (
        f"<file_name>{files[-1].name}</file_name>\n    <open_name>pyboinc_launcher.bat</open_name>\n    <copy_file/>\n"
    ) in document


def test_documents_that_are_not_current(code_sign, tmp_path):
    private, public = code_sign
    files = versions.files(LINUX, KEY)
    document = versions.document(files, 101, url, private)
    assert not versions.is_signed(document, versions.files(LINUX, KEY + b" "), public)
    assert not versions.is_signed(document, versions.files(LINUX, KEY, BUNDLE), public)
    assert not versions.is_signed(document.replace("0", "1"), files, public)
    assert not versions.is_signed("<file_info>", files, public)
    keys.create_code_sign_keys(tmp_path)
    assert not versions.is_signed(document, files, keys.load_code_sign_public(tmp_path / "code_sign_public"))


def test_kept_bundle(code_sign, tmp_path):
    files = versions.files(LINUX, KEY, BUNDLE)
    document = versions.document(files, 101, url, code_sign[0])
    with pytest.raises(errors.ProjectError, match="--python"):
        versions.kept_bundle(document, LINUX, tmp_path)
    for file in files:
        durable.place(tmp_path / file.name, file.data)
    assert versions.kept_bundle(document, LINUX, tmp_path) == BUNDLE
    plain = versions.document(files[:3], 101, url, code_sign[0])
    assert versions.kept_bundle(plain, LINUX, tmp_path) is None


def test_public_key(tmp_path):
    key = keys.create(tmp_path / "private", tmp_path / "public")
    fields = json.loads(versions.public_key(key, "http://example.org/"))
    assert fields == {**json.loads(key.public_json), "project": "http://example.org/"}


def test_label():
    assert [versions.label(number) for number in (101, 110, 200)] == ["1.01", "1.10", "2.00"]
