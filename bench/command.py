"""The command line of ``python -m bench``: how fast it is, here and now, beside what a user would take instead."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from aioboinc import errors
from aioboinc.aio import signals
from bench import (
    decoding,
    end_to_end,
    environment,
    handling,
    hostile,
    idle,
    keys,
    measuring,
    memory,
    passes,
    report,
    restart,
    resume,
    scale,
    serve,
    submission,
)

__all__ = ["main"]

_STAGES: dict[str, Callable[[environment.Environment], Awaitable[measuring.Stage]]] = {
    "submission": submission.run,
    "transition": passes.run_transition,
    "validation": passes.run_validation,
    "assimilation": passes.run_assimilation,
    "handling": handling.run,
    "end-to-end": end_to_end.run,
    "idle": idle.run,
    "serve": serve.run,
    "scale": scale.run,
    "decoding": decoding.run,
    "keys": keys.run,
    "memory": memory.run,
    "restart": restart.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what *arguments* ask for, and print it; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="How fast it is, here and now, beside what a user would take instead."
    )
    parser.add_argument(
        "stages",
        nargs="+",
        choices=(*_STAGES, "all", "walk", "hostile", "resume"),
        help="walk is a part of scale; hostile, a soak of a served project, and resume, one of a program that is "
        "killed, are not in all",
    )
    parser.add_argument(
        "--hosts", type=int, default=500, help="hosts of hostile, a tenth of them so (default: 500)"
    )
    parser.add_argument("--seconds", type=float, default=300, help="of each of hostile's two runs (default: 300)")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs in each round (default: 10000)")
    parser.add_argument("--database", choices=("sqlite", "mariadb"), default="sqlite")
    parser.add_argument("--beside", type=Path, metavar="PROJECT_DIR", help="a BOINC project whose tools run too")
    parser.add_argument("--older", type=Path, metavar="CHECKOUT", help="an older version, which restarts too")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the median is taken (default: 3)")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="work in here, and clear nothing up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it as a table for a page")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it; needs matplotlib")
    options = parser.parse_args(arguments)
    if options.jobs < 1 or options.rounds < 1:
        parser.error("--jobs and --rounds must be positive")
    if options.hosts < 10 or not options.seconds > 0:
        parser.error("--hosts must be 10 at least, and --seconds positive")
    if options.beside is not None and options.database == "sqlite":
        parser.error("--beside needs --database mariadb: BOINC's tools know nothing else")
    beside = None if options.beside is None else options.beside.resolve()
    older = None if options.older is None else options.older.resolve()
    settings = environment.Settings(
        options.jobs, options.database, options.rounds, beside, options.directory, older
    )
    soak = hostile.Settings(options.hosts, options.seconds)
    work = {**_STAGES, "hostile": lambda place: hostile.run(place, soak), "resume": resume.run}
    try:
        with (
            environment.Environment(settings) as place,
            asyncio.Runner(loop_factory=signals.loop_factory()) as runner,
        ):
            if options.stages == ["walk"]:
                print(json.dumps(runner.run(scale.walk(place))))
                return 0
            names = list(_STAGES) if "all" in options.stages else options.stages
            machine = environment.machine(place)
            stages: list[measuring.Stage] = []
            for name in names:
                print(f"{name}:", file=sys.stderr, flush=True)
                stages.append(runner.run(work[name](place)))  # type: ignore[arg-type]
        print(report.text(stages, machine), end="")
        if options.json is not None:
            options.json.write_text(report.to_json(stages, machine))
        if options.markdown is not None:
            options.markdown.write_text(report.markdown(stages, machine))
        if options.plot is not None:
            report.plot(stages, machine, options.plot)
    except errors.UsageError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0
