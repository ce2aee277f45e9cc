"""The programs of docs/executor.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

DOCS = Path(__file__).parents[2] / "docs" / "executor.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
PRINTED = [
    r"144\n328350\n",
    r"\[0, 1, 4, 9, 16, 25, 36, 49, 64, 81\]\n",
    r"285\n",
    r"\[0, 1, 4, .*, 9801\]\n",
    r"\[.*\]\n",
]


@pytest.mark.parametrize(
    ("program", "printed"), list(zip(PROGRAMS, PRINTED, strict=True)), ids=range(len(PRINTED))
)
def test_program(program, printed, tmp_path):
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(printed, done.stdout)
