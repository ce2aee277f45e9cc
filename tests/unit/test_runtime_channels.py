"""The channels between client and application."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioboinc.slave_runtime import channels, init_data

SIZE = 8192
NAMES = (
    "process_control_request",
    "process_control_reply",
    "graphics_request",
    "graphics_reply",
    "heartbeat",
    "app_status",
    "trickle_up",
    "trickle_down",
)
MAPPED = init_data.InitData(shm_key=-1)


@pytest.mark.parametrize(("index", "name"), list(enumerate(NAMES)))
def test_each_channel_has_its_place(index: int, name: str) -> None:
    memory = bytearray(SIZE)
    getattr(channels.Channels(memoryview(memory)), name).send("<hello/>")
    assert memory == bytes(1024 * index) + b"\1<hello/>" + bytes(SIZE - 1024 * index - 9)


def test_a_message_is_taken_once() -> None:
    memory = bytearray(SIZE)
    memory[:10] = b"\1<quit/>\0x"
    channel = channels.Channels(memoryview(memory)).process_control_request
    assert channel.receive() == "<quit/>"
    assert memory[0] == 0
    assert channel.receive() is None


def test_a_message_that_waits_is_not_overwritten() -> None:
    memory = bytearray(SIZE)
    channel = channels.Channels(memoryview(memory)).app_status
    assert channel.is_free()
    assert channel.send("first")
    assert not channel.is_free()
    assert not channel.send("second")
    assert channel.receive() == "first"
    assert channel.send("2")
    assert channel.receive() == "2"


def test_a_message_that_is_too_long_stays_in_its_channel() -> None:
    memory = bytearray(SIZE)
    channel = channels.Channels(memoryview(memory)).trickle_up
    assert channel.send("x" * 2000)
    assert channel.receive() == "x" * 1022
    assert not any(memory[7 * 1024 :])


def test_a_message_without_an_end_is_cut_off_at_the_channels() -> None:
    memory = bytearray(b"\1" + b"\xff" * (SIZE - 1))
    text = channels.Channels(memoryview(memory)).process_control_request.receive()
    assert text == "\N{REPLACEMENT CHARACTER}" * 1023


def test_the_mapped_file_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "boinc_mmap_file"
    path.write_bytes(bytes(SIZE))
    ours = channels.connect(str(tmp_path), MAPPED)
    ours.app_status.send("<fraction_done>0.5</fraction_done>")
    assert path.read_bytes()[5 * 1024 :].startswith(b"\1<fraction_done>0.5</fraction_done>\0")
    with open(path, "r+b") as file:
        file.write(b"\1<suspend/>\0")
    assert ours.process_control_request.receive() == "<suspend/>"


@pytest.mark.parametrize("content", [None, b"", bytes(8191)])
def test_a_file_that_is_none_of_the_clients_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "boinc_mmap_file").write_bytes(content)
    with pytest.raises(channels.ChannelsError, match="boinc_mmap_file"):
        channels.connect(str(tmp_path), MAPPED)


@pytest.fixture
def segment() -> Iterator[tuple[int, memoryview]]:
    """System V shared memory as the client makes it for old app versions: its key and its bytes."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    libc.shmdt.argtypes = [ctypes.c_void_p]
    key = 0x01000000 | os.getpid()
    create_exclusively, remove = 0o3666, 0
    identifier = libc.shmget(key, SIZE, create_exclusively)
    if identifier < 0:
        pytest.skip(f"System V shared memory: {os.strerror(ctypes.get_errno())}")
    address = libc.shmat(identifier, None, 0)
    yield key, memoryview((ctypes.c_ubyte * SIZE).from_address(address)).cast("B")
    libc.shmdt(address)
    libc.shmctl(identifier, remove, None)


def test_shared_memory_of_an_old_app_version(segment: tuple[int, memoryview]) -> None:
    key, memory = segment
    ours = channels.connect("/nonexistent", init_data.InitData(shm_key=key))
    assert ours.app_status.send("<x/>")
    assert bytes(memory[5 * 1024 : 5 * 1024 + 6]) == b"\1<x/>\0"
    memory[4 * 1024 : 4 * 1024 + 14] = b"\1<heartbeat/>\0"
    assert ours.heartbeat.receive() == "<heartbeat/>"


def test_shared_memory_that_is_not_there() -> None:
    with pytest.raises(channels.ChannelsError, match="0x1ffffff can't be found"):
        channels.connect("/nonexistent", init_data.InitData(shm_key=0x1FFFFFF))
