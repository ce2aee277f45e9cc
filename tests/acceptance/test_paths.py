"""Whatever a path may hold on Linux works, or is refused in one line that is true, with nothing left."""

import os
import shutil

import pytest

ANSWER = "The answer is 30\n"
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


def test_a_folder(few_squares, odd):
    """The program's folder is the batch directory: the slave, its modules and all of the project are below it."""
    folder = few_squares.folder / odd
    folder.mkdir(parents=True)
    for path in few_squares.folder.glob("*.py"):
        shutil.move(path, folder / path.name)
    few_squares.folder = folder
    for options in ((), (), ("--fresh",)):
        finished = few_squares.run("--quiet", *options)
        assert (finished.stdout, finished.stderr) == (ANSWER, "")


def test_a_batch_directory_is_made(few_squares, odd):
    path = few_squares.folder / odd / "made"
    finished = few_squares.run("--quiet", "--batch-dir", str(path))
    assert (finished.stdout, finished.stderr) == (ANSWER, "")
    assert (path / "pyboinc_checkpoint").exists()


@pytest.mark.parametrize("depth", [5, 19, 25])
def test_too_long_a_path(few_squares, depth):
    path = few_squares.folder / "/".join(["d" * 200] * depth)
    finished = few_squares.run("--quiet", "--batch-dir", str(path))
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert "SQLite takes 500 at most" in finished.stderr or "too long" in finished.stderr
    assert few_squares.files() == set()


@pytest.mark.parametrize("options", [(), ("--project", "/nowhere")])
def test_nothing_is_left_of_a_refused_run(few_squares, options):
    few_squares.write(app_master="await pyboinc_master(lambda: None, print)")
    finished = few_squares.run("--quiet", "--batch-dir", str(few_squares.folder / "a" / "b"), *options)
    assert finished.returncode == 2
    assert few_squares.files() == set()


def test_a_batch_directory_below_a_file(few_squares):
    finished = few_squares.run("--quiet", "--batch-dir", str(few_squares.folder / "app_slave.py" / "b"))
    assert finished.returncode == 2
    assert "Not a directory" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_a_program_and_a_slave(few_squares, odd):
    name = f"{odd.replace('/', '_')[:100]}.py"
    folder = few_squares.folder
    (folder / "app_slave.py").rename(folder / name)
    text = (folder / "app_master.py").read_text().replace('"app_slave.py"', repr(name))
    (folder / "app_master.py").unlink()
    (folder / f"m{name}").write_text(text)
    few_squares.command[-1] = f"m{name}"
    finished = few_squares.run("--quiet")
    if finished.returncode == 0:
        assert finished.stdout == ANSWER
    else:
        assert finished.returncode == 2, finished.stderr
        assert finished.stderr.count("\n") == 1
        assert "rename" in finished.stderr
        assert few_squares.files() == set()
