"""The command line of ``python -m bench``: how fast aioboinc is here and now, compared with its alternatives."""

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
    programs,
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
    "programs": programs.run,
    "memory": memory.run,
    "restart": restart.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what *arguments* ask for, and print it; return the exit status."""
    options = _options(arguments)
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


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="How fast aioboinc is here and now, compared with its alternatives."
    )
    parser.add_argument(
        "stages",
        nargs="+",
        choices=(*_STAGES, "all", "walk", "hostile", "resume"),
        help="walk is a part of scale; hostile, a soak of a served project, and resume, one of a program that is "
        "killed, are not in all",
    )
    parser.add_argument(
        "--hosts", type=int, default=500, help="hosts in hostile, a tenth of them hostile (default: 500)"
    )
    parser.add_argument(
        "--seconds", type=float, default=300, help="seconds of each of hostile's two runs (default: 300)"
    )
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs in each round (default: 10000)")
    parser.add_argument("--database", choices=("sqlite", "mariadb"), default="sqlite")
    parser.add_argument("--beside", type=Path, metavar="PROJECT_DIR", help="a BOINC project whose tools run too")
    parser.add_argument("--older", type=Path, metavar="CHECKOUT", help="an older version, which restarts too")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take the median of (default: 3)")
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="work in this directory, and keep everything"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write them as a table in Markdown")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them; needs matplotlib")
    options = parser.parse_args(arguments)
    if options.jobs < 1 or options.rounds < 1:
        parser.error("--jobs and --rounds must be positive")
    if options.hosts < 10 or not options.seconds > 0:
        parser.error("--hosts must be at least 10, and --seconds positive")
    if options.beside is not None and options.database == "sqlite":
        parser.error("--beside needs --database mariadb: BOINC's tools work with nothing else")
    return options
