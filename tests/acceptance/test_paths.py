"""Whatever a path may hold on Linux works, or is refused in one line that is true, with nothing left."""

import os
import shutil

import pytest

ANSWER = "The answer is 328350\n"
ODD = {
    "lines": b"a\nb\r\x0b\x1b[31mc",
    "quotes": b"a \"b\" 'c' \\",
    "marks": b"%a%(x)s%41#b?c=d&e;f:g@h",
    "tags": b"<soft_link>]]>&amp;",
    "spaces": b"  a  ",
    "bytes": b"a\xff\xfe\x80",
    "long": b"d" * 200 + b"/" + b"e" * 100,
}


@pytest.fixture(params=ODD)
def odd(request):
    return os.fsdecode(ODD[request.param])


def test_a_folder(sum_of_squares, odd):
    """The program's folder is the batch directory: the slave, its modules and all of the project are below it."""
    folder = sum_of_squares.folder / odd
    folder.mkdir(parents=True)
    for path in sum_of_squares.folder.glob("*.py"):
        shutil.move(path, folder / path.name)
    sum_of_squares.folder = folder
    for options in ((), (), ("--fresh",)):
        finished = sum_of_squares.run("--quiet", *options)
        assert (finished.stdout, finished.stderr) == (ANSWER, "")


def test_a_batch_directory_is_made(sum_of_squares, odd):
    path = sum_of_squares.folder / odd / "made"
    finished = sum_of_squares.run("--quiet", "--batch-dir", str(path))
    assert (finished.stdout, finished.stderr) == (ANSWER, "")
    assert (path / "pyboinc_checkpoint").exists()


@pytest.mark.parametrize("depth", [5, 19, 25])
def test_too_long_a_path(sum_of_squares, depth):
    path = sum_of_squares.folder / "/".join(["d" * 200] * depth)
    finished = sum_of_squares.run("--quiet", "--batch-dir", str(path))
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert "SQLite takes 500 at most" in finished.stderr or "too long" in finished.stderr
    assert sum_of_squares.files() == set()


@pytest.mark.parametrize("options", [(), ("--project", "/nowhere")])
def test_nothing_is_left_of_a_refused_run(sum_of_squares, options):
    sum_of_squares.write(app_master="await pyboinc_master(lambda: None, print)")
    finished = sum_of_squares.run("--quiet", "--batch-dir", str(sum_of_squares.folder / "a" / "b"), *options)
    assert finished.returncode == 2
    assert sum_of_squares.files() == set()


def test_a_batch_directory_below_a_file(sum_of_squares):
    finished = sum_of_squares.run("--quiet", "--batch-dir", str(sum_of_squares.folder / "app_slave.py" / "b"))
    assert finished.returncode == 2
    assert "Not a directory" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_a_program_and_a_slave(sum_of_squares, odd):
    name = f"{odd.replace('/', '_')[:100]}.py"
    folder = sum_of_squares.folder
    (folder / "app_slave.py").rename(folder / name)
    text = (folder / "app_master.py").read_text().replace('"app_slave.py"', repr(name))
    (folder / "app_master.py").unlink()
    (folder / f"m{name}").write_text(text)
    sum_of_squares.command[-1] = f"m{name}"
    finished = sum_of_squares.run("--quiet")
    if finished.returncode == 0:
        assert finished.stdout == ANSWER
    else:
        assert finished.returncode == 2, finished.stderr
        assert finished.stderr.count("\n") == 1
        assert "rename" in finished.stderr
        assert sum_of_squares.files() == set()
