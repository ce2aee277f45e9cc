"""The slot directory: soft links, files written whole, the lock."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aioboinc.slave_runtime import slot

TARGET = "../../projects/example.org_test/file_1"


@pytest.fixture
def slot_dir(tmp_path: Path) -> Path:
    path = tmp_path / "slots" / "0"
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize("text", [f"<soft_link>{TARGET}</soft_link>\n", f"<soft_link>{TARGET}</soft_link>"])
def test_a_soft_link_leads_to_the_project(slot_dir: Path, tmp_path: Path, text: str) -> None:
    (slot_dir / "name").write_text(text)
    assert slot.resolve(str(slot_dir), "name") == str(tmp_path / "projects/example.org_test/file_1")


def test_a_symbolic_link_leads_to_a_file_that_need_not_exist(slot_dir: Path, tmp_path: Path) -> None:
    (slot_dir / "name").symlink_to(TARGET)
    assert slot.resolve(str(slot_dir), "name") == str(tmp_path / "projects/example.org_test/file_1")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04\xff<soft_link>x</soft_link>", b"<soft_link>x", b"x" * 10000]
)
def test_a_file_stands_for_itself(slot_dir: Path, content: bytes) -> None:
    (slot_dir / "name").write_bytes(content)
    assert slot.resolve(str(slot_dir), "name") == str(slot_dir / "name")


def test_a_name_without_a_file_stands_for_itself(slot_dir: Path) -> None:
    assert slot.resolve(str(slot_dir), "name") == str(slot_dir / "name")


def test_a_soft_link_with_other_characters(slot_dir: Path, tmp_path: Path) -> None:
    (slot_dir / "name").write_bytes("<soft_link>../../projects/p/é &</soft_link>\n".encode())
    assert slot.resolve(str(slot_dir), "name") == str(tmp_path / "projects/p/é &")


def test_a_file_is_replaced_as_a_whole(slot_dir: Path) -> None:
    path = slot_dir / "file"
    path.write_bytes(b"old")
    slot.write(str(path), b"new", durable=True)
    assert path.read_bytes() == b"new"
    assert os.listdir(slot_dir) == ["file"]


def test_a_write_that_fails_leaves_the_file_as_it_was(slot_dir: Path) -> None:
    path = slot_dir / "file"
    path.write_bytes(b"old")
    (slot_dir / "file.tmp").mkdir()
    with pytest.raises(OSError, match=r"file\.tmp"):
        slot.write(str(path), b"new")
    assert path.read_bytes() == b"old"


def test_a_write_onto_another_file_system(slot_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(source: str, target: str) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "replace", replace)
    slot.write(str(slot_dir / "file"), b"new", temporary=str(slot_dir / "other"))
    assert {path.name: path.read_bytes() for path in slot_dir.iterdir()} == {"file": b"new"}


def test_a_temporary_exit_reads_as_the_client_reads_it(slot_dir: Path) -> None:
    slot.temporary_exit(str(slot_dir), 600, "one line\nof " + "many words and Umläute " * 100)
    text = (slot_dir / "boinc_temporary_exit").read_bytes()
    seconds, reason, notice = text.decode().splitlines()
    assert seconds == "600"
    assert reason.startswith("one line of many words")
    assert len(reason) < 255
    assert notice == "notice"


def test_a_finish_file_states_success(slot_dir: Path) -> None:
    slot.finish(str(slot_dir))
    assert (slot_dir / "boinc_finish_called").read_text() == "0\n"


def test_a_slot_is_locked_for_other_processes_only_while_its_holder_lives(slot_dir: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from aioboinc.slave_runtime import slot\n"
            "print(slot.Lock(sys.argv[1]).acquire(), flush=True); sys.stdin.read()",
            str(slot_dir),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    lock = slot.Lock(str(slot_dir))
    assert not lock.acquire()
    holder.communicate()
    assert lock.acquire()


def test_the_directory_for_temporary_files_has_room_for_sockets() -> None:
    assert slot.temporary("/var/lib/boinc/slots/0") == "/var/lib/boinc/slots/0/tmp"
    assert slot.temporary("/" + "x" * 80) is None
    longest = "/" + "x" * 66
    path = slot.temporary(longest)
    assert path is not None
    # What multiprocessing makes of it, and what macOS takes.
    assert len(f"{path}/pymp-abcdefgh/listener-abcdefgh") <= 103


def test_a_file_is_moved_whole(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "target").write_bytes(b"older and longer")
    slot.move(str(tmp_path / "source"), str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == b"new"
    assert not (tmp_path / "source").exists()
