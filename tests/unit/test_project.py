import pytest

from aioboinc import errors
from aioboinc.project import config

CONFIG = """<?xml version="1.0" ?>
<boinc>
    <config>
        <long_name>Demo Project</long_name>
        <db_user>boincadm</db_user>
        <db_name>demo</db_name>
        <db_passwd>se/cr@t</db_passwd>
        <db_host>127.0.0.1:3307</db_host>
        <uldl_dir_fanout>1024</uldl_dir_fanout>
        <dont_generate_upload_certificates>1</dont_generate_upload_certificates>
        <master_url>http://127.0.0.1/demo/</master_url>
        <download_url>http://127.0.0.1/demo/download</download_url>
        <upload_url>http://127.0.0.1/demo_cgi/file_upload_handler</upload_url>
        <download_dir>/srv/demo/download</download_dir>
        <upload_dir>/srv/demo/upload</upload_dir>
        <key_dir>/srv/demo/keys/</key_dir>
    </config>
    <daemons/>
</boinc>
"""


def write(root, text):
    (root / "config.xml").write_text(text)
    return root


def test_boinc_project(tmp_path):
    read = config.read(write(tmp_path, CONFIG))
    assert read.name == "Demo Project"
    assert read.database_url == "mysql://boincadm:se%2Fcr%40t@127.0.0.1:3307/demo"
    assert read.kind is config.Kind.BOINC
    assert not read.upload_certificates


@pytest.mark.parametrize(
    "element", ["", "<dont_generate_upload_certificates>0</dont_generate_upload_certificates>"]
)
def test_upload_certificates(tmp_path, element):
    text = CONFIG.replace("<dont_generate_upload_certificates>1</dont_generate_upload_certificates>", element)
    assert config.read(write(tmp_path, text)).upload_certificates


def test_local_database_goes_by_the_socket(tmp_path, monkeypatch):
    socket = tmp_path / "mysqld.sock"
    socket.touch()
    monkeypatch.setenv("MYSQL_UNIX_PORT", str(socket))
    read = config.read(write(tmp_path, CONFIG.replace("127.0.0.1:3307", "")))
    assert read.database_url == f"mysql://boincadm:se%2Fcr%40t@localhost:3306/demo?unix_socket={socket}"


def test_embedded_project_may_be_moved(tmp_path):
    text = CONFIG.replace("<db_name>", "<database_url>sqlite:project.sqlite</database_url><db_name>").replace(
        "/srv/demo/download</", "download</"
    )
    read = config.read(write(tmp_path, text))
    assert read.kind is config.Kind.EMBEDDED
    assert read.database_url == f"sqlite:///{tmp_path}/project.sqlite"
    assert read.download_dir == tmp_path / "download"


@pytest.mark.parametrize(
    ("name", "directory"),
    # As the files lay on a real project, with 1024 subdirectories.
    [("prog_v2.py", "39d"), ("data_1.txt", "d7"), ("prog_v1.py", "1a9")],
)
def test_fanout(name, directory):
    assert config.fanout_directory(name, 1024) == directory
    assert config.fanout_directory(name, 0) == ""


def test_paths(tmp_path):
    read = config.read(write(tmp_path, CONFIG))
    assert read.download_path("data_1.txt") == "/srv/demo/download/d7/data_1.txt"
    assert read.upload_path("data_1.txt") == "/srv/demo/upload/d7/data_1.txt"
    assert read.download_file_url("data_1.txt") == "http://127.0.0.1/demo/download/d7/data_1.txt"


def test_no_directory(tmp_path):
    with pytest.raises(errors.ProjectError, match="no such project"):
        config.read(tmp_path / "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no config.xml"),
        ("<boinc>", "not well-formed"),
        ("<boinc/>", "no <config>"),
        (CONFIG.replace("master_url", "other_url"), "lacks <master_url>"),
        (CONFIG.replace(">1024<", ">many<"), "many"),
    ],
)
def test_bad_config(tmp_path, text, message):
    if text is not None:
        write(tmp_path, text)
    with pytest.raises(errors.ProjectError, match=message):
        config.read(tmp_path)
