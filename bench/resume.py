"""A soak test: a program whose calls change is killed at random moments, and must still be right.

Each round changes the calls of a batch directory: some are added, some removed, and all are shuffled. Half of them
cause second and third calls that depend on their results. The program is killed up to three times, then it runs to its
end. Then its answer must be right, each call handled once, and nothing done before computed again.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import random
import sys
import time
from pathlib import Path

from bench import measuring
from bench.environment import Environment
from bench.measuring import Figure

__all__ = ["run"]

_WORKERS = 2
_IN_PROGRESS = 4 * _WORKERS
"""Jobs that may be computed again after a kill: in progress, or done and not in the database yet."""
_MAX_SECONDS = 900.0
"""Seconds for a run that is not killed."""
_MAX_KILLS = 3
_BATCHES = 10
"""Directories over which the rounds are spread."""
_CALLS = 40

_SLAVE = """\
value = pyboinc_get_input()
with open({computed!r}, "a") as file:
    print(value, file=file)
pyboinc_return_output(value)
"""
_MASTER = """\
import json
from aioboinc import Batch

calls = json.load(open("calls.json"))
handled = []


def follow(value):
    return [value + 100_000] if value % 2 == 0 and value < 200_000 else []


async def make_calls():
    for value in calls:
        await pyboinc_call("app_slave.py", value)


def handle_result(output):
    handled.append(output)
    for value in follow(output):
        pyboinc_call("app_slave.py", value)


async def as_they_come(batch):
    async for job in batch.map("app_slave.py", calls):
        handled.append(job.output)
        for value in follow(job.output):
            handled.append(await batch.submit("app_slave.py", value))
            handled.extend([await batch.submit("app_slave.py", second) for second in follow(value)])


if json.load(open("face.json")) == "master":
    await pyboinc_master(make_calls, handle_result)
else:
    async with Batch() as batch:
        await as_they_come(batch)
print(json.dumps(handled))
"""


async def run(environment: Environment) -> measuring.Stage:
    """Go through the rounds; say which faults were found on standard error."""
    rounds = environment.settings.rounds
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    kills = 0
    faults: list[str] = []
    batch = _Batch(environment.new_directory(), chance)
    for number in range(rounds):
        if number % max(1, rounds // _BATCHES) == 0:
            batch = _Batch(environment.new_directory(), chance)
        more, found = await batch.round()
        kills += more
        faults += found
        for fault in found:
            print(f"  seed {seed}, round {number}, {batch.folder}: {fault}", file=sys.stderr, flush=True)
    figures = [Figure("rounds", rounds, ""), Figure("kills", kills, ""), Figure("faults", len(faults), "")]
    return measuring.Stage("resume", _CALLS, environment.settings.database, (), figures)


class _Batch:
    """A program in *folder*."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self._chance = chance
        self._computed = folder / "computed"
        self._computed.touch()
        (folder / "app_slave.py").write_text(_SLAVE.format(computed=str(self._computed)))
        (folder / "app_master.py").write_text(_MASTER)
        self._calls = [chance.randrange(_CALLS) for _ in range(_CALLS)]
        self._done: collections.Counter[int] = collections.Counter()
        """How often each value was called in a run that has finished."""
        self._seconds = 3.0
        """Seconds that the last run took that was not killed."""

    async def round(self) -> tuple[int, list[str]]:
        """Change the calls, kill some runs, let one finish; return the number of kills, and what was wrong."""
        self._change()
        before = self._executions()
        kills = 0
        for _ in range(self._chance.randrange(_MAX_KILLS + 1)):
            kills += await self._killed(self._chance.uniform(0, self._seconds))
        begun = time.monotonic()
        process = await self._start()
        try:
            async with asyncio.timeout(_MAX_SECONDS):
                output, complaints = await process.communicate()
        except TimeoutError:
            process.kill()
            return kills, ["it does not end"]
        self._seconds = time.monotonic() - begun
        if process.returncode:
            return kills, [f"exit status {process.returncode}: {complaints.decode()}"]
        return kills, self._judged(json.loads(output), self._executions() - before, kills)

    def _judged(self, handled: list[int], executions: int, kills: int) -> list[str]:
        expected = collections.Counter(_all_calls(self._calls))
        faults = []
        if collections.Counter(handled) != expected:
            missing, odd = expected - collections.Counter(handled), collections.Counter(handled) - expected
            faults.append(f"the answer is wrong: it lacks {dict(missing)} and has {dict(odd)} too much")
        new = (expected - self._done).total()
        if not new <= executions + self._left_over() or executions > new + _IN_PROGRESS * kills:
            faults.append(f"{executions} jobs were computed in place of {new}, with {kills} kills")
        self._done |= expected
        return faults

    def _left_over(self) -> int:
        """Return how many outputs earlier rounds may have left for calls that no finished run has made."""
        return sum(len(os.listdir(self.folder / name)) for name in ("new", "old")) - self._done.total()

    def _change(self) -> None:
        calls, chance = self._calls, self._chance
        for _ in range(chance.randrange(8)):
            calls.pop(chance.randrange(len(calls)))
        calls += [chance.randrange(2 * _CALLS) for _ in range(chance.randrange(8))]
        if chance.random() < 0.7:
            chance.shuffle(calls)
        (self.folder / "calls.json").write_text(json.dumps(calls))
        (self.folder / "face.json").write_text(json.dumps(chance.choice(["master", "batch"])))

    def _executions(self) -> int:
        return self._computed.read_text().count("\n")

    async def _killed(self, seconds: float) -> int:
        """Kill a run after *seconds*; return whether it was still running."""
        process = await self._start()
        try:
            async with asyncio.timeout(seconds):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()
            return 1
        return 0

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aioboinc", "run", "--quiet", "--workers", str(_WORKERS), "app_master.py"),
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if name != "PYBOINC_DIR"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


def _all_calls(calls: list[int]) -> list[int]:
    """Return *calls* with those that follow from them."""
    made = list(calls)
    for value in made:  # which grows
        if value % 2 == 0 and value < 200_000:
            made.append(value + 100_000)
    return made
