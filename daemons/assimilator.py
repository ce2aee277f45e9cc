"""The assimilator: publishes the outputs of finished jobs in their batch directories."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

from aioboinc.passes import assimilation, comparators, output_process

from . import common

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the assimilator; return the exit status."""
    parser = common.Parser(
        "pyboinc_assimilator",
        "Publishes the canonical outputs of finished jobs, and reports on failed ones, in the directories "
        "of their batches.",
        sleep_interval=5,
    )
    options = parser.parse(arguments)
    return common.main(options, lambda _: _passes())


def _passes() -> common.Pass:
    return functools.partial(
        _one_pass, assimilation.HeldBatches(), output_process.OutputProcess(comparators.BITWISE)
    )


async def _one_pass(
    held: assimilation.HeldBatches, process: output_process.OutputProcess, context: common.Context
) -> int:
    return await assimilation.one_pass(
        context.store,
        context.project,
        held,
        appid=context.appid,
        share=context.share,
        stop=context.stop.is_set,
        process=process,
    )


if __name__ == "__main__":
    sys.exit(main())
