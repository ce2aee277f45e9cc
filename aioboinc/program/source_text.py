"""The code in a Python file's text: all but comments, blank lines and spaces at the ends of lines."""

from __future__ import annotations

import io
import tokenize

__all__ = ["code"]

# From Python 3.12 on, an f-string is several tokens; its inside stays as it is, as before.
_OPENING = {getattr(tokenize, name, -1) for name in ("FSTRING_START", "TSTRING_START")}
_CLOSING = {getattr(tokenize, name, -1) for name in ("FSTRING_END", "TSTRING_END")}


def code(source: bytes) -> bytes:
    """Return the code in *source*, in UTF-8; the same on every version of Python.

    What is not Python is returned whole.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        lines = io.StringIO(source.decode(encoding)).readlines()
        comments, strings = _comments_and_strings(source)
    except (SyntaxError, ValueError, tokenize.TokenError):
        return source
    kept = []
    for number, line in enumerate(lines, 1):
        text = line[: comments.get(number)]
        if number in strings:
            kept.append(text)
        elif text.strip():
            kept.append(text.rstrip() + "\n")
    return "".join(kept).encode("utf-8", "surrogatepass")


def _comments_and_strings(source: bytes) -> tuple[dict[int, int], set[int]]:
    """Return the columns of comments, by line, and the lines whose ends are inside a string."""
    comments: dict[int, int] = {}
    strings: set[int] = set()
    opened: list[int] = []
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type in _OPENING:
            opened.append(token.start[0])
        elif token.type in _CLOSING:
            strings.update(range(opened.pop(), token.end[0]))
        elif token.type == tokenize.STRING:
            strings.update(range(token.start[0], token.end[0]))
        elif token.type == tokenize.COMMENT and not opened:
            comments[token.start[0]] = token.start[1]
    return comments, strings
