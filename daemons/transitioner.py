"""The transitioner, for projects that don't run BOINC's: decides what is next for workunits."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence

from aioboinc.passes import transition

from . import common

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the transitioner; return the exit status."""
    parser = common.Parser(
        "pyboinc_transitioner",
        "Creates the results of workunits, gives up those that are late, and tells the validator, the assimilator "
        "and the file deleter when it is their turn.",
        sleep_interval=5,
    )
    parser.add_argument(
        "--delete_delay",
        type=int,
        default=0,
        metavar="X",
        help="keep files for X seconds after the last result has come back (default: 0)",
    )
    options = parser.parse(arguments)
    return common.main(options, lambda _: functools.partial(_one_pass, delete_delay=options.delete_delay))


async def _one_pass(context: common.Context, *, delete_delay: int) -> int:
    return await transition.one_pass(
        context.store,
        context.project,
        appid=context.appid,
        now=int(time.time()),
        share=context.share,
        delete_delay=delete_delay,
    )


if __name__ == "__main__":
    sys.exit(main())
