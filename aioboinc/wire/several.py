"""The input of a workunit of several calls: a limit, and the encoded input of each call.

Standard library only, Python 3.8 syntax: hosts get this file too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aioboinc.wire import codec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["decode_inputs", "encode_inputs"]


def encode_inputs(limit: float, inputs: Sequence[bytes]) -> bytes:
    """Return the input of a workunit that runs a call with each of *inputs*, encoded ones.

    It ends after the call at which these calls have taken *limit* seconds; 0: it doesn't. Raises codec.NotData if they
    are too large for one file.
    """
    return codec.encode([float(limit), list(inputs)])


def decode_inputs(data: bytes) -> tuple[float, list[bytes]]:
    """Return the limit and the inputs that `encode_inputs` has put into *data*. Raises codec.Malformed."""
    value = codec.decode(data)
    if type(value) is not list or len(value) != 2:
        raise codec.Malformed("is not the input of several calls")
    limit, inputs = value
    if type(limit) is not float or not 0 <= limit < math.inf:
        raise codec.Malformed("has a limit that is no number of seconds")
    if type(inputs) is not list or not inputs or any(type(one) is not bytes for one in inputs):
        raise codec.Malformed("has inputs that are none")
    return limit, inputs
