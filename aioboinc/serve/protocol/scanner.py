"""Reads the elements of a scheduler request, in time linear in its length.

What clients send is almost XML: some elements contain raw text, and ampersands may stand alone. There are no
attributes, own entities or document types. If a request exceeds a limit, its whole elements before that are read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["MAX_ELEMENTS", "MAX_REPORTS", "BadRequest", "Element", "scan"]

MAX_ELEMENTS = 60_000
"""More than in a request that reports MAX_REPORTS results and lists all that a host may have."""
MAX_REPORTS = 1000
"""Number of reports to read; the client sends the others with its next request."""
_MAX_DEPTH = 16
_MAX_TEXT = 4096
"""Characters to keep of an element's text."""
_TAG = re.compile(r"<(/?)([A-Za-z_][A-Za-z0-9_.-]{0,63})[ \t\r\n]{0,64}(/?)>")
_RAW = {
    "stderr_out",
    "working_global_preferences",
    "app_versions",
    "msg_from_host",
    "client_opaque",
    "time_stats_log",
    "job_log",
}
"""Elements with raw text, or of which little or nothing is read."""


class BadRequest(ValueError):
    """The request is not one; the text says why."""


class Element:
    """An element of a request."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        """The text before its first child; all of it for raw elements."""
        self.children: Sequence[Element] = ()


def scan(text: str, *, cut: bool = False) -> Element:
    """Return the root element of *text* with its whole children; *cut* says that the end is missing.

    Raises `BadRequest`.
    """
    return _Scan(text, cut).root()


class _Scan:
    """A walk over a text."""

    def __init__(self, text: str, cut: bool) -> None:
        self._text = text
        self._cut = cut
        self._position = 0
        self._open: list[Element] = []
        self._elements = 0
        self._reports = 0
        self._absent: set[str] = set()
        """Texts that don't occur any more; they are not searched for again."""

    def root(self) -> Element:
        while (match := _TAG.search(self._text, self._position)) is not None:
            if self._text.find("<!", self._position, match.start()) >= 0:
                raise BadRequest("entities and document types are not allowed")
            self._position = match.end()
            is_end, name, is_empty = match.groups()
            if is_end:
                if not self._open or self._open[-1].name != name:
                    raise BadRequest(f"not well-formed: </{name}> ends nothing")
                element = self._open.pop()
                if not self._open:
                    return element
            elif self._is_over_limit(name) or not self._begin(name, is_empty=bool(is_empty)):
                return self._part()
        return self._part()

    def _is_over_limit(self, name: str) -> bool:
        self._elements += 1
        self._reports += name == "result" and len(self._open) == 1
        return self._elements > MAX_ELEMENTS or self._reports > MAX_REPORTS

    def _begin(self, name: str, *, is_empty: bool) -> bool:
        """Read an element; return False if it has no end."""
        if len(self._open) >= _MAX_DEPTH:
            raise BadRequest("too deep")
        element = Element(name)
        if not is_empty and name in _RAW:
            end_tag = f"</{name}>"
            end = self._end_of_raw(end_tag)
            if end < 0:
                if not self._cut:
                    raise BadRequest(f"no end tag of {name}")
                return False
            element.text = self._text[self._position : end]
            self._position = end + len(end_tag)
            is_empty = True
        if self._open:
            parent = self._open[-1]
            if isinstance(parent.children, list):
                parent.children.append(element)
            else:
                parent.children = [element]  # most have none, and making a list for each would double the time
        if not is_empty:
            limit = self._position + _MAX_TEXT
            end = self._text.find("<", self._position, limit)
            element.text = self._text[self._position : limit if end < 0 else end]
            self._open.append(element)
        return True

    def _end_of_raw(self, end_tag: str) -> int:
        # The client puts it after a CDATA section, so that a program's output may contain the tag.
        if self._text.find("<![CDATA[", self._position, self._position + 100) >= 0:
            end = self._find(f"]]>\n{end_tag}")
            if end >= 0:
                return end + 4
        return self._find(end_tag)

    def _find(self, what: str) -> int:
        if what in self._absent:
            return -1
        found = self._text.find(what, self._position)
        if found < 0:
            self._absent.add(what)
        return found

    def _part(self) -> Element:
        """Return the root with its whole children."""
        is_over_limit = self._elements > MAX_ELEMENTS or self._reports > MAX_REPORTS
        if not self._open or not (self._cut or is_over_limit):
            raise BadRequest("not well-formed: no end")
        root = self._open[0]
        if len(self._open) > 1:
            root.children = root.children[:-1]
        return root
