"""Records which of the user's classes a value contains."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from aioboinc.wire import codec

__all__ = ["Recorder"]


class Recorder(codec.Registry):
    """A registry of all the user's classes, for one value; it notes which of them were needed.

    *namespace* is ``__main__``'s; *is_local* tells whether a module goes to hosts with the program.
    """

    def __init__(self, namespace: Mapping[str, Any], is_local: Callable[[str], bool]) -> None:
        super().__init__()
        self.classes: set[str] = set()
        """Names of the needed classes of ``__main__``."""
        self.modules: set[str] = set()
        """Modules of all needed classes."""
        self._namespace = namespace
        self._is_local = is_local

    def find(self, module: str, name: str) -> type:
        found: Any = None
        if module == "__main__":
            found = self._namespace.get(name)
        elif module in sys.modules and self._is_local(module):
            found = vars(sys.modules[module]).get(name)
        if not isinstance(found, type) or (found.__module__, found.__qualname__) != (module, name):
            raise LookupError(f"class {name!r} of module {module!r} is not one of the program's")
        self.modules.add(module)
        if module == "__main__":
            self.classes.add(name)
        return found

    def has_module(self, module: str) -> bool:
        return module == "__main__" or self._is_local(module)
