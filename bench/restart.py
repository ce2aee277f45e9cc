"""Restart: a master that finds all its calls handled, in their old order and in another one, each in its own process.

With ``--older``, a checkout of an older version, with a ``.venv`` if it needs one, that one takes turns with them, in
the old order.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
from pathlib import Path

from bench import handling, measuring
from bench.environment import Environment, Settings
from bench.measuring import Contender, Kind

__all__ = ["run"]

_OLDER = """\
import asyncio, sys
from bench import environment, handling
count, database = int(sys.argv[1]), sys.argv[2]
settings = environment.Settings(count, database, 1, None)
with environment.Environment(settings) as place:
    print(asyncio.run(handling._restart(place)))
"""
"""What version 0.1 has for it."""


async def run(environment: Environment) -> measuring.Stage:
    """Measure both orders, and the older version if there is one."""
    settings = environment.settings
    here = Path(__file__).parents[1]
    ours = {"the old order": "same", "another order": "other"}
    contenders = [
        Contender(
            f"aioboinc starts again, calls in {words}",
            Kind.OURS,
            functools.partial(_measured, here, settings, "-m", "bench.restart", order),
        )
        for words, order in ours.items()
    ]
    if settings.older is not None:
        measure = functools.partial(_measured, settings.older, settings, "-c", _OLDER)
        contenders.append(Contender("the older version starts again, the old order", Kind.BESIDE, measure))
    series = await measuring.compete(contenders, settings.jobs, settings.rounds)
    return measuring.Stage("restart", settings.jobs, settings.database, series)


async def _measured(checkout: Path, settings: Settings, *command: str) -> float:
    python = checkout / ".venv" / "bin" / "python"  # an older version may need other packages
    process = await asyncio.create_subprocess_exec(
        *(
            str(python) if python.exists() else sys.executable,
            *command[:2],
            str(settings.jobs),
            settings.database,
            *command[2:],
        ),
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the restart in {checkout} has failed")
    return float(json.loads(output))


def _main(count: int, database: str, order: str) -> None:
    settings = Settings(count, database, 1, None)
    with Environment(settings) as environment:
        print(asyncio.run(handling.restart(environment, reordered=order == "other")))


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
