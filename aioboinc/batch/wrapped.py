"""Functions as others wrap them: what is called in the end, and with which arguments."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["unwrapped"]

_OF_SCIPY = ("scipy._lib._util", "_FunctionWrapper")


def unwrapped(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Any, Sequence[Any], Mapping[str, Any]]:
    """Return the function that the call of *function* calls, with its arguments.

    Of a `functools.partial`, and of what scipy's optimisers hand to a ``workers=`` that is like `map`.
    """
    while True:
        if isinstance(function, functools.partial):
            function, args, kwargs = (
                function.func,
                (*function.args, *args),
                {**function.keywords, **kwargs},
            )
        elif (type(function).__module__, type(function).__name__) == _OF_SCIPY:
            function, args = function.f, (*args, *function.args)
        else:
            return function, args, kwargs
