"""The validator: judges the outputs that hosts have sent."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence

from aioboinc.passes import comparators, output_process, validation
from aioboinc.project import config
from aioboinc.store import credit

from . import common

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the validator; return the exit status."""
    options = _parse(arguments)
    return common.main(options, lambda project: _passes(_policy(options, project)))


def _passes(policy: validation.Policy) -> common.Pass:
    return functools.partial(_one_pass, policy, output_process.OutputProcess(policy.comparator))


async def _one_pass(
    policy: validation.Policy, process: output_process.OutputProcess, context: common.Context
) -> int:
    return await validation.one_pass(
        context.store,
        context.project,
        appid=context.appid,
        policy=policy,
        share=context.share,
        stop=context.stop.is_set,
        process=process,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = common.Parser(
        "pyboinc_validator",
        "Judges the outputs that hosts have sent: each is checked, and where a quorum of them agrees, one "
        "becomes the canonical result of its workunit.",
        sleep_interval=5,
    )
    parser.add_argument(
        "--comparator",
        default="bitwise",
        metavar="HOW",
        help="when outputs agree: bitwise (default), numeric:absolute=A,relative=R,ulps=N (one or more of the "
        "three), or module:function, a function of two values in the project's bin/ or installed",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--credit_from_runtime",
        dest="credit",
        action="store_const",
        const=validation.Credit.RUN_TIME,
        default=validation.Credit.RUN_TIME,
        help="grant credit by the time that the results took (default)",
    )
    source.add_argument(
        "--credit_from_wu",
        dest="credit",
        action="store_const",
        const=validation.Credit.WORKUNIT,
        help="grant the credit that the workunit fixes",
    )
    source.add_argument(
        "--no_credit",
        dest="credit",
        action="store_const",
        const=validation.Credit.NONE,
        help="grant no credit",
    )
    parser.add_argument(
        "--max_granted_credit",
        type=float,
        default=credit.MAX_GRANTED,
        metavar="X",
        help="maximum credit of a result (default: %(default).0f)",
    )
    return parser.parse(arguments)


def _policy(options: argparse.Namespace, project: config.Project) -> validation.Policy:
    """Return the policy that *options* ask for. Raises `errors.UsageError`."""
    sys.path.append(str(project.root / "bin"))
    return validation.Policy(
        comparator=comparators.parse(options.comparator),
        max_granted_credit=options.max_granted_credit,
        credit=options.credit,
        hosts=True,
    )


if __name__ == "__main__":
    sys.exit(main())
