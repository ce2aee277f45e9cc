"""Edits config.xml and project.xml as text: adds and removes elements, and leaves every other byte as it is.

A document is edited at the places where the parser finds its elements, so comments, indentation and line ends stay as
their author wrote them. `remove` undoes `append`.
"""

from __future__ import annotations

import re
import xml.parsers.expat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Element", "Malformed", "append", "equivalent", "find", "remove"]

_INDENT = b"    "
_TAG = re.compile(rb"""<(?:[^<>"']|"[^"]*"|'[^']*')*>""")
_BESIDE_TAGS = re.compile(rb"(>)\s+|\s+(<)")
_EMPTY = re.compile(rb"<([\w.-]+)></\1>")
_MARGIN = re.compile(rb"(?:\r\n|\n)[ \t]*\Z")


class Malformed(ValueError):
    """A document that is not well-formed, or not what it should be."""


@dataclass(frozen=True)
class Element:
    """The place of an element in a document: offsets in bytes."""

    start: int
    end: int
    """Offset of the first byte after it."""
    content: int
    """Offset of the first byte after its start tag."""
    last_child: tuple[int, int] | None
    """Start and end of its last child element."""
    empty_tag: bool
    """Whether it is written ``<x/>``."""
    children: Mapping[str, str]
    """The texts of its child elements by name, without white space around them."""


def find(document: bytes, *path: str) -> list[Element]:
    """Return the elements at *path*, the names from the root on, in their order. Raises Malformed."""
    finder = _Finder(document, path)
    try:
        finder.parser.Parse(document, True)
    except xml.parsers.expat.ExpatError as error:
        raise Malformed(f"not well-formed: {error}") from None
    return finder.found


def append(document: bytes, path: Sequence[str], *elements: str) -> bytes:
    """Add *elements* after the last child of the first element at *path*, which is made if there is none.

    The lines of each keep their indentation relative to the first, which is indented like what is there already.
    Raises Malformed.
    """
    parents = find(document, *path)
    if not parents:
        *ancestors, name = path
        if not ancestors:
            raise Malformed(f"there is no <{name}> element")
        return append(append(document, ancestors, f"<{name}>\n</{name}>"), path, *elements)
    parent = parents[0]
    if parent.empty_tag:
        margin, end_tag = _margin(document, parent.start), f"</{path[-1]}>".encode()
        opened = document[: parent.end - 2].rstrip() + b">" + margin + end_tag
        return append(opened + document[parent.end :], path, *elements)
    if parent.last_child:
        start, place = parent.last_child
        margin = _margin(document, start)
    else:
        place = parent.content
        margin = _margin(document, parent.start) + _INDENT
    lines = b"".join(margin + line.encode() for element in elements for line in element.splitlines())
    return document[:place] + lines + document[place:]


def remove(document: bytes, elements: Sequence[Element]) -> bytes:
    """Remove *elements*, each with the line end before it if it begins a line."""
    for element in sorted(elements, key=lambda element: -element.start):
        margin = _MARGIN.search(document[: element.start])
        start = margin.start() if margin else element.start
        document = document[:start] + document[element.end :]
    return document


def equivalent(one: bytes, other: bytes) -> bool:
    """Tell whether two documents differ only in white space beside tags, and in ``<x></x>`` for ``<x/>``."""
    first, second = (
        _EMPTY.sub(rb"<\1/>", _BESIDE_TAGS.sub(rb"\1\2", document.strip())) for document in (one, other)
    )
    return first == second


def _margin(document: bytes, offset: int) -> bytes:
    """Return the line end and the white space before *offset*; only a line end if there is more on the line."""
    margin = _MARGIN.search(document[:offset])
    return margin[0] if margin else (b"\r\n" if b"\r\n" in document else b"\n")


class _Finder:
    """Collects the elements at a path while parsing."""

    def __init__(self, document: bytes, path: tuple[str, ...]) -> None:
        self.found: list[Element] = []
        self.parser = xml.parsers.expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self._document = document
        self._path = list(path)
        self._open: list[str] = []
        self._starts: list[tuple[int, int]] = []
        self._children: dict[str, str] = {}
        self._last_child: tuple[int, int] | None = None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        start = self.parser.CurrentByteIndex
        tag = _TAG.match(self._document, start)
        if tag is None or b"\0" in tag[0]:
            raise Malformed("it is in an encoding that can't be edited: convert it to UTF-8")
        self._open.append(name)
        self._starts.append((start, tag.end()))
        if self._open == self._path:
            self._children = {}
            self._last_child = None

    def _end(self, name: str) -> None:
        start, content = self._starts.pop()
        empty_tag = self._document[content - 2 : content] == b"/>"
        index = self.parser.CurrentByteIndex
        end = content if empty_tag else self._document.index(b">", index) + 1
        if self._open == self._path:
            children = {tag: text.strip() for tag, text in self._children.items()}
            self.found.append(Element(start, end, content, self._last_child, empty_tag, children))
        elif self._open[:-1] == self._path:
            self._children.setdefault(name, "")
            self._last_child = (start, end)
        self._open.pop()

    def _text(self, text: str) -> None:
        if self._open[:-1] == self._path:
            self._children[self._open[-1]] = self._children.get(self._open[-1], "") + text
