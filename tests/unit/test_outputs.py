"""What is published, and what it says."""

import os

import pytest
from published import BATCH, SHA, job_failed, load_all, name, opened, publish, remote_error

from aioboinc import errors
from aioboinc.batch import directory as batch_directory
from aioboinc.batch import outputs
from aioboinc.batch.outputs import FAILED, OLD, THERE
from aioboinc.wire import codec, envelope


@pytest.fixture
def directory(tmp_path):
    directory = batch_directory.BatchDirectory(tmp_path)
    directory.create()
    return directory


def load_new(there):
    """Return the outputs that have come since the last look."""
    return load_all(there, there.scan())


def test_outputs_are_found_once_in_their_order(directory):
    for number in reversed(range(1000)):
        publish(directory, number, number)
    there = opened(directory)
    assert there.scan() == list(range(1000))
    assert there.scan() == []
    publish(directory, 1000, 1000)
    assert there.scan() == [1000]
    assert all(there.state(number) & THERE for number in range(1001))
    assert not there.state(1001) & THERE
    assert there.count() == 1001


def test_outputs_come_in_groups_and_go_to_old(directory):
    count = 2 * outputs.GROUP + 1
    for number in range(count):
        publish(directory, number, number)
    there = opened(directory)
    numbers = there.scan()
    group, gone = there.load(numbers)
    assert [output.value for output in group] == list(range(outputs.GROUP))
    assert gone == []
    assert [output.value for output in load_all(there, numbers)] == list(range(count))
    there.retire(numbers)
    assert os.listdir(directory.new) == []
    assert len(os.listdir(directory.old)) == count
    assert there.count() == count


@pytest.mark.parametrize("size", [0, 16 << 10, 100_000, 9 << 20])
def test_an_output_of_any_size(directory, size):
    value = "x" * size
    overhead = len(envelope.encode_output(name(0), SHA, SHA, value, None)) - size
    for number, length in enumerate((size, max(0, size - overhead))):  # the second file has exactly that size
        publish(directory, number, value[:length])
    loaded = load_new(opened(directory))
    assert [len(output.value) for output in loaded] == [size, max(0, size - overhead)]


def test_large_outputs_make_smaller_groups(directory):
    for number in range(5):
        publish(directory, number, "x" * (5 << 20))
    there = opened(directory)
    group, _ = there.load(there.scan())
    assert len(group) == 2


def test_an_output_published_twice_goes_away(directory):
    there = opened(directory)
    publish(directory, 3, "x")
    assert [output.value for output in load_new(there)] == ["x"]
    there.retire([3])
    publish(directory, 3, "x")
    assert there.scan() == []
    assert os.listdir(directory.new) == []
    assert os.listdir(directory.old) == [name(3)]


def test_a_second_link_to_a_taken_output_goes_away(directory):
    there = opened(directory)
    publish(directory, 3, "x")
    there.retire(there.scan())
    os.link(directory.old / name(3), directory.new / name(3))
    assert there.scan() == []
    assert os.listdir(directory.new) == []
    assert os.listdir(directory.old) == [name(3)]


def test_foreign_files_are_left_alone(directory):
    foreign = (f"pyboinc_{BATCH + 1}_0", "notes.txt", f"{name(1)}.tmp", f"pyboinc_{BATCH}_٣", name(100))
    for file in foreign:
        (directory.new / file).write_bytes(b"")
        (directory.old / file).write_bytes(b"")
    there = opened(directory, njobs=100)  # what is beyond is no job of this batch
    there.look_back()
    assert there.scan() == []
    assert there.count() == 0
    assert len(os.listdir(directory.new)) == len(os.listdir(directory.old)) == len(foreign)


def test_what_former_runs_have_left(directory):
    publish(directory, 0, "before")
    directory.retire([name(0)])
    job_failed(directory, 1)
    directory.retire([f"{name(1)}.error"])
    publish(directory, 0, "before")
    publish(directory, 2, "now")
    there = opened(directory)
    there.look_back()
    assert [bool(there.state(number) & OLD) for number in range(4)] == [True, True, False, False]
    assert [bool(there.state(number) & THERE) for number in range(4)] == [True, True, True, False]
    assert [there.is_good(number) for number in range(4)] == [True, False, True, False]
    assert [bool(there.state(number) & FAILED) for number in range(4)] == [False, True, False, False]
    loaded = load_all(there, [0, 1, 2])
    assert [output.value for output in loaded] == ["before", None, "now"]
    assert loaded[1].error.reason == "too many errors"
    there.retire([0, 1, 2])
    assert sorted(os.listdir(directory.old)) == [name(0), f"{name(1)}.error", name(2)]
    there.scan()
    assert os.listdir(directory.new) == []


@pytest.mark.parametrize("folder", ["new", "old"])
@pytest.mark.parametrize("reverse", [False, True])
def test_an_output_counts_where_a_report_says_that_the_job_has_failed(directory, folder, reverse, monkeypatch):
    publish(directory, 0, "x")
    job_failed(directory, 0)
    if folder == "old":
        directory.retire([name(0), f"{name(0)}.error"])
    entries = outputs.Outputs._entries

    def in_order(self, place):
        return iter(sorted(entries(self, place), key=lambda entry: entry[1], reverse=reverse))

    monkeypatch.setattr(outputs.Outputs, "_entries", in_order)
    there = opened(directory)
    there.look_back()
    assert there.is_good(0)
    assert [output.value for output in load_all(there, [0])] == ["x"]


def test_what_is_no_file_is_an_obstacle_for_its_job(directory):
    (directory.new / name(3)).mkdir()
    (directory.new / f"{name(4)}.error").symlink_to("elsewhere")
    there = opened(directory)
    there.look_back()
    assert there.scan() == []
    there.check_obstacle(2)
    for number, kind in ((3, "directory"), (4, "symbolic link")):
        with pytest.raises(errors.UsageError, match=f"{name(number)}.*{kind}"):
            there.check_obstacle(number)
    (directory.new / name(3)).rmdir()
    there.check_obstacle(3)
    publish(directory, 3, "x")
    assert there.scan() == [3]


def test_an_obstacle_to_an_output_that_was_taken_is_none(directory):
    publish(directory, 3, "x")
    there = opened(directory)
    there.retire(there.scan())
    (directory.new / name(3)).mkdir()
    assert there.scan() == []
    assert there.state(3) & THERE


def test_outputs_that_somebody_has_removed(directory):
    for number in range(4):
        publish(directory, number, number)
    there = opened(directory)
    assert there.scan() == [0, 1, 2, 3]
    (directory.new / name(0)).unlink()
    (directory.new / name(2)).unlink()
    group, gone = there.load([0, 1, 2, 3])
    assert [output.number for output in group] == [1, 3]
    assert gone == [0, 2]
    assert not there.state(0) & THERE
    publish(directory, 0, 0)
    assert there.scan() == [0]


def test_folders_that_somebody_has_removed(directory):
    publish(directory, 0, 0)
    there = opened(directory)
    there.scan()
    (directory.new / name(0)).rename(directory.path / "kept")
    for folder in (directory.new, directory.old):
        folder.rmdir()
    assert there.load([0]) == ([], [0])
    assert there.scan() == []
    there.retire([0])
    there.look_back()


def test_what_is_good(directory):
    """Such outputs stay although the program has changed."""
    remote_error(directory, 0)
    job_failed(directory, 1)
    publish(directory, 2, "x" * 100_000)
    (directory.new / name(3)).write_bytes(b"garbage")
    publish(directory, 4, None)
    there = opened(directory)
    there.scan()
    (directory.new / name(4)).unlink()
    assert [there.is_good(number) for number in range(6)] == [False, False, True, False, False, False]
    there.retire([2])
    assert there.is_good(2)


def test_errors(directory):
    remote_error(directory, 0)
    job_failed(directory, 1)
    remote, failed = (output.error for output in load_new(opened(directory)))
    assert isinstance(remote, errors.RemoteError)
    assert (remote.type, remote.message) == ("ValueError", "negative")
    assert 'raise ValueError("negative")' in remote.traceback
    assert str(failed) == f"{name(1)}: too many errors"
    assert failed.results == (errors.FailedResult("r_0", "exit 3", 3, "boom"),)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"cos\nsystem\n(S'echo'\ntR.",
        envelope.encode_output(name(99), SHA, SHA, 1, None),
        envelope.encode_output(name(0), SHA, SHA, 1, None)[:-3],
    ],
)
def test_malformed_bytes_fail_that_job_only(directory, data):
    (directory.new / name(0)).write_bytes(data)
    publish(directory, 1, "fine")
    malformed, fine = load_new(opened(directory))
    assert (fine.value, fine.error) == ("fine", None)
    assert malformed.value is None
    assert "malformed output" in str(malformed.error)
    assert isinstance(malformed.error.__cause__, errors.MalformedResult)


@pytest.mark.parametrize(
    "data", [b"", codec.encode({"reason": "r"}), codec.encode([1]), codec.encode({"reason": 1, "results": 3})]
)
def test_a_damaged_report_still_fails_its_job(directory, data):
    (directory.new / f"{name(0)}.error").write_bytes(data)
    (output,) = load_new(opened(directory))
    assert "damaged" in str(output.error)


class Fails:
    """Its objects fail where they are members of a set, in ways that have nothing to do with the file."""

    def __hash__(self):
        raise MemoryError

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize("number", [10**5000, -1], ids=["long", "negative"])
def test_an_error_with_a_number_that_cannot_be_printed_fails_that_job_only(directory, number):
    error = {"type": "E", "message": "", "traceback": [["file", number, "f", "x"]], "causes": []}
    data = envelope.header(name(0), SHA, SHA) + b"\x8c\x05error\x8c\x05value" + codec.encode(error)[2:-1] + b"u."
    (directory.new / name(0)).write_bytes(data)
    publish(directory, 1, "good")
    bad, good = load_new(opened(directory))
    assert good.value == "good"
    assert "malformed output" in str(bad.error)


def test_whatever_is_raised_fails_that_job_only(directory):
    value = f"\x8f(c{__name__}\nFails\n)\x81}}(ub\x90u.".encode("latin-1")
    data = envelope.header(name(0), SHA, SHA) + b"\x8c\x02ok\x8c\x05value" + value
    (directory.new / name(0)).write_bytes(data)
    publish(directory, 1, "good")
    registry = codec.Registry({(__name__, "Fails"): Fails})
    bad, good = load_new(opened(directory, registry=registry))
    assert good.value == "good"
    assert "its output can't be read here: MemoryError" in str(bad.error)
