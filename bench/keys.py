"""Keys: the cost of looking up calls, in the old order, in another order, and new ones; and the memory.

Seconds are processor time: there is nothing to wait for.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aioboinc.batch import keys, ledger
from aioboinc.program import bundle
from aioboinc.store import calls as stored
from aioboinc.store import jobs
from bench import measuring
from bench.environment import Environment
from bench.measuring import Contender, Kind

__all__ = ["run"]

_KIND = jobs.Kind(bundle.Sources("slave.py", {}, {}, ""), "slave.py", b"p" * 32, jobs.Options(), {}, b"")


async def run(environment: Environment) -> measuring.Stage:
    """Measure the ledger and, for comparison, version 0.1's running SHA-256 over the calls, for one order only."""
    count = environment.settings.jobs
    inputs = [hashlib.sha256(b"%d" % number).digest() for number in range(count)]
    shuffled = random.Random(1).sample(inputs, count)
    chunks = _filled(inputs)[1]
    contenders = [
        Contender("the first time", Kind.OURS, _timed(lambda: _filled(inputs))),
        Contender("again, in the old order", Kind.OURS, _timed(lambda: _known(chunks, inputs))),
        Contender("again, in another order", Kind.OURS, _timed(lambda: _known(chunks, shuffled))),
        Contender("version 0.1, in the old order", Kind.BESIDE, _timed(lambda: _digest(inputs))),
    ]
    series = await measuring.compete(contenders, count, environment.settings.rounds)
    figures = [
        measuring.Figure(f"{one.name}: each call", sorted(one.seconds)[len(one.seconds) // 2] / count * 1e6, "us")
        for one in series
    ]
    figures.append(measuring.Figure(f"memory of {count:,} keys with their index", _memory(count), "MiB"))
    return measuring.Stage("keys", count, "none", series, figures)


def _timed(work: Callable[[], object]) -> Callable[[], Awaitable[float]]:
    async def measure() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return measure


def _call(input_sha256: bytes) -> jobs.Call:
    return jobs.Call(_KIND, b"", input_sha256, keys.first(_KIND.program, input_sha256), False, None)


def _filled(inputs: list[bytes]) -> tuple[ledger.Ledger, list[stored.Chunk]]:
    """Make calls that are all new."""
    book = ledger.Ledger()
    for input_sha256 in inputs:
        call = _call(input_sha256)
        number, key = book.find(call)
        assert number < 0
        book.add(call, key)
    return book, [book.chunk()]


def _known(chunks: list[stored.Chunk], inputs: list[bytes]) -> None:
    """Make calls that are all known."""
    book = ledger.Ledger()
    for chunk in chunks:
        book.load(chunk)
    for input_sha256 in inputs:
        call = _call(input_sha256)
        try:
            number, _ = book.find(call)
        except ledger.Unindexed:
            while not book.make_index():
                pass
            number, _ = book.find(call)
        assert number >= 0


def _digest(inputs: list[bytes]) -> bytes:
    digest = b""
    record = b"p" * 64
    for input_sha256 in inputs:
        call = jobs.Call(_KIND, b"", input_sha256, record + input_sha256, False, None)
        digest = hashlib.sha256(digest + call.key).digest()
    return digest


def _memory(count: int) -> float:
    """Return the MiB that the keys of *count* calls take, measured in a process of its own."""
    command = [sys.executable, "-m", "bench.keys", str(count)]
    finished = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    return float(json.loads(finished.stdout))


def _measure(count: int) -> float:
    before = _resident()
    book = ledger.Ledger()
    for number in range(count):
        call = _call(hashlib.sha256(b"%d" % number).digest())
        book.add(call, book.find(call)[1])
    return _resident() - before


def _resident() -> float:
    """Return this process's present memory in MiB; its maximum would include that of its parent before the fork."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / (1 << 20)


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]))))
