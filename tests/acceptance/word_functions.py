"""Functions that the tests of words send to hosts."""

import sys


def double(x):
    return 2 * x


def fails(x):
    return 1 / (x - x)


def leaves(x):
    sys.exit(3)


async def asynchronous(x):
    return x
