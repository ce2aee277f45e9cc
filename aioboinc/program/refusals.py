"""Errors for a function that can't be sent: what it uses, why that can't be sent, and what to do."""

from __future__ import annotations

import os
import types
from collections.abc import Mapping
from typing import Any

from aioboinc import errors
from aioboinc.program import remade
from aioboinc.wire import codec

__all__ = ["Refusals", "refused"]


def refused(function: str, trouble: str, remedy: str) -> errors.ProgramError:
    """Return the error that says that *function* can't be sent."""
    return errors.ProgramError(f"{function} can't be sent to hosts: {trouble}: {remedy}")


class Refusals:
    """Errors about *function* and what it needs of *namespace*, which is ``__main__``'s."""

    def __init__(self, function: str, namespace: Mapping[str, Any]) -> None:
        self._function = function
        self._namespace = namespace

    def of(self, user: str, name: str, trouble: str, remedy: str) -> errors.ProgramError:
        """Return the error for *name*, which is *trouble* and which *user* uses; no *user*: it is the function."""
        if not user:
            return refused(self._function, f"it is {trouble}", remedy)
        subject = "it" if user == self._function else f"{user}, which it needs,"
        return refused(self._function, f"{subject} uses {name}, {trouble}", remedy)

    def of_writing(self, user: str, name: str) -> errors.ProgramError:
        """Return the error for *user*, which has a ``global`` statement for *name* and assigns to it."""
        subject = "it" if user == self._function else f"{user}, which it needs,"
        remedy = "return the value, since each job has a process of its own"
        return refused(self._function, f"{subject} assigns to the global name {name}", remedy)

    def of_text(self, user: str, name: str, code: types.CodeType) -> errors.ProgramError:
        """Return the error for *name*, a function with *code* whose text can't be found."""
        if os.path.exists(code.co_filename):
            trouble = f"not in {code.co_filename} as it is now"
            return self.of(user, name, trouble, "run the program again, the file has changed")
        return self.of(user, name, "a function whose text can't be found", "put it into a file")

    def of_class(self, user: str, cls: type) -> errors.ProgramError:
        """Return the error for *cls*, a class of ``__main__`` that can't be sent."""
        name = cls.__qualname__.rpartition("<locals>.")[2]
        if cls.__qualname__ != name:
            return self.of(user, name, "a class that is defined in a function", "define it at the top level")
        if self._namespace.get(name) is cls:
            return self.of(user, name, "a class whose text can't be found", "put it into a file")
        remedy = "run again what uses the old one, or give them different names"
        return self.of(user, name, "a class that was defined again since", remedy)

    def of_value(
        self, user: str, name: str, value: Any, refusal: codec.NotData | None, *, has_text: bool
    ) -> errors.ProgramError:
        """Return the error for *name*, whose *value* can't be sent, as data because of *refusal*."""
        if isinstance(value, types.ModuleType):
            return self.of(user, name, "a module that can't be imported by its name", "import it from a file")
        if isinstance(value, types.FunctionType):
            return self._of_function(user, name, value)
        if has_text and remade.unwrapped(value) is not None:
            trouble = "which more than one statement makes" if user else "made by more than one statement"
            return self.of(user, name, trouble, "write it as a decorator, or give each step its own name")
        remedy = f"make it inside {user or self._function}, or give what is in it as an argument"
        kind = type(value)
        if refusal is not None and (refusal.path != name or kind.__name__ == "ndarray"):
            return self.of(
                user, name, f"which is not data ({refusal})" if user else f"not data ({refusal})", remedy
            )
        where = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
        return self.of(user, name, f"an object of class {where}{kind.__qualname__}, which is not data", remedy)

    def _of_function(self, user: str, name: str, function: types.FunctionType) -> errors.ProgramError:
        free = ", ".join(function.__code__.co_freevars)
        if function.__closure__:
            remedy = f"define it at the top level, with {free} as arguments"
            return self.of(user, name, f"a closure: it was made in a function and keeps its {free}", remedy)
        if function.__globals__ is not self._namespace:
            trouble = f"a function that module {function.__module__} does not have by that name any more"
            return self.of(user, name, trouble, "import it again")
        return self.of(
            user, name, "a function that can't be told from its text", "write it with def at the top level"
        )
