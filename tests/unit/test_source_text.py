"""What of a file's text makes it another program."""

import pytest

from aioboinc.program import source_text

PROGRAM = '''\
import math


def area(radius):
    """Of a circle."""
    text = f"""{
        radius
    }  # no comment

    """
    return math.pi * radius**2, '# neither', text
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import math\n", "# A comment.\nimport math  # and another\n"),
        ("\n\n\ndef", "\ndef"),
        ("import math\n", "import math   \n\n   \n\t\n"),
        ("    return", "\n    # why\n# wherefore\n    return"),
    ],
)
def test_what_is_no_code(before, after):
    assert before in PROGRAM
    changed = PROGRAM.replace(before, after)
    assert changed != PROGRAM
    assert source_text.code(changed.encode()) == source_text.code(PROGRAM.encode())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("radius**2", "radius ** 3"),
        ("# no comment", "# still none"),
        ("}  # no comment\n\n", "}  # no comment\n"),
        ("# neither", "# nor"),
        ("Of a circle.", "Of a disc."),
        ("    return", "   return"),
    ],
)
def test_what_is_code(before, after):
    assert before in PROGRAM
    assert source_text.code(PROGRAM.replace(before, after).encode()) != source_text.code(PROGRAM.encode())


def test_encodings():
    latin = "# -*- coding: latin-1 -*-\nx = 'ü'\n".encode("latin-1")
    assert source_text.code(latin) == "x = 'ü'\n".encode()
    assert source_text.code("\ufeffx = 'ü'\n".encode()) == "x = 'ü'\n".encode()
    assert source_text.code(b"x = 1\r\n\r\ny = 2") == b"x = 1\ny = 2\n"


@pytest.mark.parametrize("odd", [b"x = (\n", b"x = '\xff'\n", b"'''", b"if x:\n  y\n z\n", b""])
def test_no_python(odd):
    assert source_text.code(odd) == odd
