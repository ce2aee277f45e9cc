"""The channels between client and application: eight mailboxes for one short text each, in shared memory.

Byte 0 of a channel says whether a message waits; the text follows and ends with a zero byte. The receiver clears
the flag, and a sender never overwrites a message that waits (BOINC's ``lib/app_ipc.h``).
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Optional

from . import init_data, slot

__all__ = ["CHANNEL_SIZE", "SIZE", "Channel", "Channels", "ChannelsError", "connect"]

CHANNEL_SIZE = 1024
"""Bytes of one channel, the flag included."""
SIZE = 8 * CHANNEL_SIZE
"""Bytes of all channels."""


class ChannelsError(Exception):
    """The client's channels can't be opened."""


class Channel:
    """One mailbox."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory

    def receive(self) -> Optional[str]:
        """Take the message that waits, if there is one."""
        if not self._memory[0]:
            return None
        text = bytes(self._memory[1:]).split(b"\0", 1)[0]
        self._memory[0] = 0
        return text.decode("utf-8", "replace")

    def is_free(self) -> bool:
        """Say whether the last message was taken."""
        return not self._memory[0]

    def send(self, text: str) -> bool:
        """Leave a message; return False if the last one still waits. What is too long is cut off."""
        if self._memory[0]:
            return False
        data = text.encode("utf-8")[: CHANNEL_SIZE - 2] + b"\0"
        self._memory[1 : 1 + len(data)] = data
        self._memory[0] = 1  # last: the client reads as soon as it sees the flag
        return True


class Channels:
    """The channels in *memory*, a writable buffer of ``SIZE`` bytes, by the names that BOINC gives them."""

    def __init__(self, memory: memoryview) -> None:
        def channel(index: int) -> Channel:
            return Channel(memory[index * CHANNEL_SIZE : (index + 1) * CHANNEL_SIZE])

        self.process_control_request = channel(0)
        self.process_control_reply = channel(1)
        self.graphics_request = channel(2)
        self.graphics_reply = channel(3)
        self.heartbeat = channel(4)
        self.app_status = channel(5)
        self.trickle_up = channel(6)
        self.trickle_down = channel(7)


def connect(slot_dir: str, init: init_data.InitData) -> Channels:
    """Return the channels that the client has made for the job in *slot_dir*.

    They are in the file ``boinc_mmap_file``; for an app version older than BOINC 6 in System V shared memory under
    ``shm_key``; on Windows always in named shared memory. Raises ChannelsError, with the reason.
    """
    if sys.platform == "win32":
        memory = _named(init.comm_obj_name)
    elif init.shm_key == -1:
        memory = _file(os.path.join(slot_dir, slot.CHANNELS))
    else:
        memory = _system_v(init.shm_key)
    return Channels(memory)


def _file(path: str) -> memoryview:
    try:
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size < SIZE:
                raise ChannelsError(f"{slot.CHANNELS} has {size} bytes, not {SIZE}")
            return memoryview(mmap.mmap(file.fileno(), SIZE))
    except (OSError, ValueError) as error:
        raise ChannelsError(f"{slot.CHANNELS} can't be mapped: {error}") from error


if sys.platform == "win32":

    def _named(name: str) -> memoryview:
        import ctypes

        if not name:
            raise ChannelsError("init_data.xml names no shared memory")
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.OpenFileMappingW.restype = ctypes.c_void_p
        kernel32.CloseHandle.argtypes = [ctypes.c_void_p]
        read_and_write = 0x0002 | 0x0004
        # The client uses the global name space if it runs the application under another account.
        for tag in ("Global\\shm_" + name, "shm_" + name):
            handle = kernel32.OpenFileMappingW(read_and_write, False, tag)
            if handle:
                # mmap would make the memory if it did not exist: it is opened while we hold it.
                memory = mmap.mmap(-1, SIZE, tagname=tag)
                kernel32.CloseHandle(handle)
                return memoryview(memory)
        raise ChannelsError(f"shared memory shm_{name} can't be opened: error {ctypes.get_last_error()}")

else:

    def _system_v(key: int) -> memoryview:
        try:
            import ctypes

            libc = ctypes.CDLL(None, use_errno=True)
            shmget, shmat = libc.shmget, libc.shmat
        except (ImportError, OSError, AttributeError) as error:
            raise ChannelsError(f"System V shared memory can't be used here: {error}") from error
        shmget.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_int]
        shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
        shmat.restype = ctypes.c_void_p
        segment = shmget(key, SIZE, 0)  # fails for one that is smaller
        if segment < 0:
            raise ChannelsError(f"shared memory {key:#x} can't be found: {os.strerror(ctypes.get_errno())}")
        address = shmat(segment, None, 0)
        if address is None or address == ctypes.c_void_p(-1).value:
            raise ChannelsError(f"shared memory {key:#x} can't be attached: {os.strerror(ctypes.get_errno())}")
        return memoryview((ctypes.c_ubyte * SIZE).from_address(address)).cast("B")
