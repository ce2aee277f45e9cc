"""Files with the outputs of several calls in ``new/`` and ``old/``."""

import os

import pytest
from published import BATCH, SHA, opened, publish

from aioboinc import errors
from aioboinc.batch import directory as batch_directory
from aioboinc.batch import partition
from aioboinc.batch.outputs import OLD, THERE
from aioboinc.batch.partition import Workunit
from aioboinc.wire import codec, envelope


@pytest.fixture
def directory(tmp_path):
    directory = batch_directory.BatchDirectory(tmp_path)
    directory.create()
    return directory


@pytest.fixture
def division():
    """Ten calls in two workunits, and five single ones."""
    division = partition.Partition()
    division.extend([5, 5, 1, 1, 1, 1, 1])
    return division


def write(directory, workunit, values, *, folder="new"):
    pieces = [codec.encode([True, value]) for value in values]
    data = envelope.encode_calls(workunit.name(BATCH), SHA, SHA, pieces)
    (getattr(directory, folder) / workunit.name(BATCH)).write_bytes(data)


def load(outputs, numbers):
    group, gone = outputs.load(numbers)
    return {output.number: output.value if output.error is None else output.error for output in group}, gone


FIRST, SECOND = Workunit(0, 5), Workunit(5, 5)


def test_all_outputs(directory, division):
    outputs = opened(directory, njobs=15, division=division)
    publish(directory, 12, "single")
    write(directory, SECOND, "abcde")
    assert outputs.scan() == [5, 6, 7, 8, 9, 12]
    assert outputs.scan() == []
    assert load(outputs, [12, 9, 5]) == ({12: "single", 9: "e", 5: "a"}, [])
    assert outputs.count() == 6
    assert outputs.unfinished == {}


def test_the_file_moves_with_the_last_output(directory, division):
    outputs = opened(directory, njobs=15, division=division)
    write(directory, FIRST, "abcde")
    outputs.scan()
    outputs.retire([4, 0, 0])
    outputs.retire([1, 2])
    assert os.listdir(directory.old) == []
    outputs.retire([3])
    assert os.listdir(directory.old) == [FIRST.name(BATCH)]
    assert os.listdir(directory.new) == []
    assert all(outputs.state(number) & OLD for number in range(5))
    assert load(outputs, [2]) == ({2: "c"}, [])


def test_an_earlier_run_has_taken_them(directory, division):
    write(directory, FIRST, "abcde", folder="old")
    write(directory, SECOND, "fgh")
    outputs = opened(directory, njobs=15, division=division)
    outputs.look_back()
    assert [bool(outputs.state(number) & OLD) for number in range(8)] == [True] * 5 + [False] * 3
    assert load(outputs, range(8)) == (dict(enumerate("abcdefgh")), [])
    assert outputs.unfinished == {SECOND: False}


@pytest.mark.parametrize("folder", ["new", "old"])
def test_fewer_outputs_than_calls(directory, division, folder):
    write(directory, SECOND, "ab", folder=folder)
    outputs = opened(directory, njobs=15, division=division)
    outputs.look_back()
    assert outputs.unfinished == {SECOND: False}
    outputs.retire([5, 6])
    assert os.listdir(directory.old) == [SECOND.name(BATCH)]
    assert [bool(outputs.state(number) & THERE) for number in range(5, 10)] == [True, True, False, False, False]
    new = division.move(7, 3, 0)
    outputs.done(SECOND)
    write(directory, new, "cde")
    assert outputs.scan() == [7, 8, 9]
    assert load(outputs, range(5, 10)) == (dict(enumerate("abcde", 5)), [])
    again = opened(directory, njobs=15, division=division)
    again.look_back()
    assert again.unfinished == {}
    assert again.count() == 5


def test_a_workunit_that_has_failed(directory, division):
    report = directory.new / f"{FIRST.name(BATCH)}.error"
    report.write_bytes(b"")
    outputs = opened(directory, njobs=15, division=division)
    assert outputs.scan() == []
    assert outputs.unfinished == {FIRST: True}
    assert not any(outputs.state(number) & THERE for number in range(5))
    division.move(0, 2, 0)
    division.move(2, 3, 0)
    outputs.done(FIRST)
    assert not report.exists()
    report.write_bytes(b"")  # a crash before it was removed
    again = opened(directory, njobs=15, division=division)
    again.look_back()
    assert again.unfinished == {}
    assert not report.exists()


def test_an_output_after_a_report(directory, division):
    (directory.new / f"{FIRST.name(BATCH)}.error").write_bytes(b"")
    write(directory, FIRST, "abcde")
    outputs = opened(directory, njobs=15, division=division)
    assert outputs.scan() == [0, 1, 2, 3, 4]
    assert outputs.unfinished == {}


def test_what_is_damaged_fails_its_calls(directory, division):
    write(directory, FIRST, "abcde")
    path = directory.new / FIRST.name(BATCH)
    path.write_bytes(path.read_bytes()[:-20])
    outputs = opened(directory, njobs=15, division=division)
    assert outputs.scan() == [0, 1, 2, 3, 4]
    loaded, gone = load(outputs, [0, 4])
    assert gone == []
    assert all("malformed output" in str(error) for error in loaded.values())


def test_a_damaged_piece_fails_its_own_call(directory, division):
    pieces = [codec.encode([True, 1]), b"nonsense", codec.encode([True, 3])]
    data = envelope.encode_calls(FIRST.name(BATCH), SHA, SHA, pieces)
    (directory.new / FIRST.name(BATCH)).write_bytes(data)
    outputs = opened(directory, njobs=15, division=division)
    assert outputs.scan() == [0, 1, 2]
    loaded, _ = load(outputs, [0, 1, 2])
    assert (loaded[0], loaded[2]) == (1, 3)
    assert "malformed output" in str(loaded[1])
    assert outputs.is_good(0)
    assert not outputs.is_good(1)
    assert not outputs.is_good(3)


def test_a_file_that_somebody_removes(directory):
    division = partition.Partition()
    workunits = division.extend([3] * 40)
    for workunit in workunits:
        write(directory, workunit, "abc")
    outputs = opened(directory, njobs=120, division=division)
    assert len(outputs.scan()) == 120
    for workunit in workunits:
        (directory.new / workunit.name(BATCH)).unlink()
    loaded, gone = load(outputs, range(120))
    assert gone  # some of the files are in memory
    assert sorted([*loaded, *gone]) == list(range(120))
    assert not any(outputs.state(number) & THERE for number in gone)
    for workunit in workunits:
        write(directory, workunit, "abc")
    assert outputs.scan() == gone
    assert load(outputs, gone) == ({number: "abc"[number % 3] for number in gone}, [])


def test_names_that_are_not_of_this_batch(directory, division):
    for text in ("pyboinc_7_0_4", "pyboinc_7_0_1", "pyboinc_7_11_5", "pyboinc_7_2_5", "pyboinc_70_0_5"):
        (directory.new / text).write_bytes(b"")
    outputs = opened(directory, njobs=15, division=division)
    assert outputs.scan() == []
    assert len(os.listdir(directory.new)) == 5


def test_an_obstacle(directory, division):
    (directory.new / FIRST.name(BATCH)).mkdir()
    outputs = opened(directory, njobs=15, division=division)
    outputs.scan()
    with pytest.raises(errors.UsageError, match=FIRST.name(BATCH)):
        outputs.check_obstacle(3)
