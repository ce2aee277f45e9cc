"""Nothing that we did not make is removed or changed, whatever it is and whatever it is called."""

import os
import shutil
import stat
import subprocess
import sys

import pytest

ANSWER = "The answer is 30\n"


def snapshot(*folders):
    """Return what is in *folders*: of each path its kind, mode, content and target."""
    seen = {}
    for top in folders:
        for folder, names, others in os.walk(top):
            for name in [*names, *others]:
                path = os.path.join(folder, name)
                status = os.lstat(path)
                content = None
                if stat.S_ISREG(status.st_mode):
                    with open(path, "rb") as file:
                        content = file.read()
                elif stat.S_ISLNK(status.st_mode):
                    content = os.readlink(path)
                seen[path] = status.st_mode, status.st_ino, content
    return seen


def is_kept(before):
    """Say whether all of a `snapshot` is as it was."""
    after = snapshot(*{os.path.dirname(path) for path in before})
    return {path: after.get(path) for path in before} == before


@pytest.fixture
def belongings(few_squares):
    """What a user has in the program's folder, some of it under names that an aioboinc without care takes for its own."""
    folder = few_squares.folder
    elsewhere = folder.parent / f"{folder.name} elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("precious")
    for name in ("old", "new", "tmp"):
        (folder / name).mkdir(0o700)
        (folder / name / "pyboinc_1_0").write_text("not an output")
        (folder / name / "pyboinc_1_1").mkdir()
        (folder / name / "pyboinc_1_1" / "inside").write_text("inside")
        os.mkfifo(folder / name / "pyboinc_1_2")
        (folder / name / "pyboinc_1_3").symlink_to(elsewhere / "precious")
        (folder / name / "pyboinc_1_4.error").symlink_to(elsewhere)
        (folder / name / "pyboinc_1_5").symlink_to("nowhere")
    (folder / "old" / "thesis.txt").write_text("thesis")
    (folder / "new" / "data.csv").write_text("1,2")
    (folder / "tmp" / "pyboinc_1_0.1-0").symlink_to(elsewhere / "precious")
    (folder / "tmp" / "scratch").mkdir()
    (folder / "pyboinc_checkpoint.txt").write_text("mine")
    return snapshot(folder, elsewhere)


def test_a_batch_beside_a_users_files(few_squares, belongings):
    for options in (("--fresh",), (), ("--fresh",)):
        finished = few_squares.run("--quiet", *options)
        assert (finished.stdout, finished.stderr) == (ANSWER, "")
        assert is_kept(belongings)
    ours = [path.name for path in (few_squares.folder / "old").iterdir() if str(path) not in belongings]
    assert len(ours) == 5
    assert not any(name.startswith("pyboinc_1_") for name in ours)


def test_fresh_without_a_batch_and_without_calls(few_squares, belongings):
    few_squares.write(app_master="await pyboinc_master(lambda: None, print)")
    before = snapshot(few_squares.folder)
    assert few_squares.run("--fresh").returncode == 2
    assert snapshot(few_squares.folder) == before


def test_fresh_removes_what_is_ours(few_squares):
    few_squares.run()
    (few_squares.folder / ".pyboinc" / "notes").write_text("mine")
    (few_squares.folder / ".pyboinc" / "upload" / "mine").mkdir()
    (few_squares.folder / "old" / "thesis.txt").write_text("thesis")
    few_squares.write(app_master="await pyboinc_master(lambda: None, print)")
    assert few_squares.run("--fresh").returncode == 2
    left = {str(path.relative_to(few_squares.folder)) for path in few_squares.folder.rglob("*")}
    ours = {path for path in left if path.endswith(".py") or path.startswith("__pycache__")}
    assert left - ours == {
        ".pyboinc",
        ".pyboinc/notes",
        ".pyboinc/upload",
        ".pyboinc/upload/mine",
        "old",
        "old/thesis.txt",
    }


def test_folders_that_are_links(few_squares, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "thesis.txt").write_text("thesis")
    for name in ("new", "old", ".pyboinc"):
        (elsewhere / name).mkdir()
        (few_squares.folder / name).symlink_to(elsewhere / name)
    before = snapshot(elsewhere)
    for options in (("--fresh",), (), ("--fresh",)):
        assert few_squares.run("--quiet", *options).stdout == ANSWER
    few_squares.write(app_master="await pyboinc_master(lambda: None, print)")
    assert few_squares.run("--fresh").returncode == 2
    assert is_kept(before)
    assert len(snapshot(elsewhere)) == len(before)


def make(kind, path):
    """Make something of a user's at *path*."""
    match kind:
        case "file":
            path.write_text("mine")
        case "directory":
            path.mkdir()
            (path / "mine").write_text("mine")
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.with_name("target").write_text("mine")
            path.symlink_to("target")
        case "dangling":
            path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("new", ("file", "pipe", "link", "dangling")),
        ("old", ("file", "dangling")),
        ("tmp", ("file", "pipe")),
        (".pyboinc", ("file", "directory", "pipe", "link", "dangling")),
        ("pyboinc_checkpoint", ("file", "directory", "pipe", "link")),
    ],
)
def test_something_else_has_a_name_of_ours(few_squares, name, kinds):
    path = few_squares.folder / name
    for kind in kinds:
        make(kind, path)
        before = snapshot(few_squares.folder)
        for options in ((), ("--fresh",)):
            finished = few_squares.run("--quiet", *options)
            assert (finished.returncode, finished.stdout) == (2, ""), (kind, finished.stderr)
            assert str(path) in finished.stderr
            assert finished.stderr.count("\n") == 1
            assert "another batch directory" in finished.stderr or "move it away" in finished.stderr
            assert snapshot(few_squares.folder) == before, kind
        if kind == "directory":
            (path / "mine").unlink()
            path.rmdir()
        else:
            path.unlink()


def test_something_is_in_the_way_of_an_output(few_squares):
    """A batch goes on as soon as it is moved away."""
    few_squares.run()
    for kind in ("directory", "pipe", "link"):
        path = few_squares.folder / "new" / "pyboinc_1_3"
        (few_squares.folder / "old" / "pyboinc_1_3").rename(few_squares.folder / "kept")
        make(kind, path)
        before = snapshot(path.parent)
        finished = few_squares.run("--quiet")
        assert finished.returncode == 2
        assert f"{path}: in the way is a" in finished.stderr
        assert snapshot(path.parent) == before
        path.rename(path.with_name("moved away"))
        (few_squares.folder / "kept").rename(path)
        assert few_squares.run("--quiet").stdout == ANSWER
        shutil.move(path.with_name("moved away"), few_squares.folder / f"a {kind}")


@pytest.mark.parametrize(
    "name", ["download/data.csv", "upload/mine", "keys/id_rsa", "project.sqlite", "account_key"]
)
def test_serve_in_a_folder_of_a_user(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text("mine")
    before = snapshot(tmp_path)
    finished = subprocess.run(
        [sys.executable, "-m", "aioboinc", "serve", "--project", tmp_path, "--listen", "127.0.0.1:18417"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (finished.returncode, finished.stderr.count("\n")) == (2, 1), finished.stderr
    assert "was not made by aioboinc: give --project another directory" in finished.stderr
    assert snapshot(tmp_path) == before
