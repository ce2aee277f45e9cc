"""The calls of a batch, against a plain dictionary; and the index of keys."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioboinc.batch import keys, ledger
from aioboinc.store import calls as stored
from aioboinc.store import jobs

PROGRAMS = {letter: hashlib.sha256(letter.encode()).digest() for letter in "abc"}


def kind(program="a", name="slave.py", **options):
    return jobs.Kind(None, name, PROGRAMS[program], jobs.Options(**options), options, bytes(32))


KINDS = {program: kind(program) for program in PROGRAMS}


def call(value, program="a", *, late=False, of=None):
    of = of or KINDS[program]
    sha256 = hashlib.sha256(str(value).encode()).digest()
    return jobs.Call(of, b"", sha256, keys.first(of.program, sha256), late, None)


def loaded(chunks, block=0, **options):
    """Return a ledger of what is committed in *chunks*."""
    book = ledger.Ledger(block, **options)
    for chunk in chunks:
        book.load(chunk)
    return book


def run(chunks, made, block=0, *, size=3, **options):
    """Make calls in a run of its own; return the ledger and the numbers. New ones are committed, *size* at a time."""
    book = loaded(chunks, block, **options)
    numbers = []
    for begin in range(0, len(made), size):
        new = 0
        for one in made[begin : begin + size]:
            number, key = book.find(one)
            if number < 0:
                number = book.add(one, key)
                new += 1
            numbers.append(number)
        if new:
            chunks.append(book.chunk())
    return book, numbers


calls_made = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ab")), max_size=40)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(calls_made, st.integers(1, 7), st.sets(st.integers(0, 30))), max_size=5))
def test_runs_against_a_dictionary(runs):
    """Whatever calls each run makes, and whatever was forgotten in between, the n-th equal call is the same job."""
    chunks = []
    model = {}  # (value, program, repeat): number
    count = 0
    for made, size, forgotten in runs:
        book, numbers = run(chunks, [call(*one) for one in made], size=size)
        seen = {}
        for order, (one, number) in enumerate(zip(made, numbers, strict=True)):
            repeat = seen[one] = seen.get(one, -1) + 1
            if (*one, repeat) not in model:
                assert number == count
                count += 1
            assert model.setdefault((*one, repeat), number) == number
            assert book.order(number) == order
            assert book.is_called(number)
        assert len(set(numbers)) == len(numbers)
        assert len(book) == count
        assert sorted(book.not_called()) == sorted(set(model.values()) - set(numbers))
        assert sum(len(chunk.keys) for chunk in chunks) == 16 * count
        withdrawn = sorted(forgotten & (set(model.values()) - set(numbers)))
        book.forget(withdrawn)
        for chunk in book.chunks(withdrawn):
            chunks[[known.first for known in chunks].index(chunk.first)] = chunk
        model = _without(model, withdrawn)


def _without(model, withdrawn):
    return {one: number for one, number in model.items() if number not in withdrawn}


def test_the_old_order_needs_no_index():
    chunks = []
    made = [call(value) for value in [1, 2, 1, 3, 1, 2]]
    run(chunks, made)
    book, numbers = run(chunks, made)
    assert numbers == list(range(6))
    assert book._index is None


def test_what_is_new_is_in_no_chunk_of_before():
    """A call that is changed may come in the same chunk as a new one."""
    chunks = []
    run(chunks, [call(1), call(2)])
    book = loaded(chunks)
    number, key = book.find(call(3))
    assert (number, book.add(call(3), key)) == (-1, 2)
    asks = kind(priority=3)
    number, _ = book.find(call(1, of=asks))
    assert number == 0
    assert book.options_differ(0, asks)
    book.set_options([0], asks)
    assert not book.options_differ(0, asks)
    (changed,) = book.chunks([0])
    assert (changed.first, len(changed.keys)) == (0, 32)
    new = book.chunk()
    assert (new.first, len(new.keys)) == (2, 16)
    again = loaded([changed, new])
    assert [again.options_differ(number, asks) for number in range(3)] == [False, True, True]


def test_calls_of_a_second_batch_of_the_same_process():
    chunks = []
    run(chunks, [call(1), call(2)], 0)
    book, numbers = run(chunks, [call(3), call(2)], 1)
    assert numbers == [2, 1]
    assert list(book.not_called()) == [0]  # it could have called those of the first one
    book, _ = run(chunks, [call(1)], 0)
    assert list(book.not_called()) == [1]  # and the first one could not have called those of the second
    book, numbers = run(chunks, [call(3)], 0)
    assert numbers == [2]


def test_late_calls():
    chunks = []
    book, _ = run(chunks, [call(1)])
    assert not book.has_late_calls
    book, _ = run(chunks, [call(1), call(2, late=True)])
    assert book.has_late_calls
    book, _ = run(chunks, [call(1)])
    assert book.has_late_calls
    chunks = []
    run(chunks, [call(1)], 0)
    run(chunks, [call(2, late=True)], 1)
    assert not run(chunks, [call(1)], 0)[0].has_late_calls


def test_results_that_are_kept():
    good = {0, 2}
    chunks = []
    run(chunks, [call(value) for value in (1, 2, 3)])
    book, numbers = run(chunks, [call(value, "b") for value in (3, 2, 1, 1, 4)], keep_results=good.__contains__)
    assert numbers == [2, 3, 0, 4, 5]
    assert list(book.not_called()) == [1]
    # What has been computed by the new program stays its own; the rest is found again.
    book, numbers = run(chunks, [call(value, "b") for value in (1, 1, 2, 3, 4)], keep_results=good.__contains__)
    assert numbers == [0, 4, 3, 2, 5]
    good.add(4)
    book, numbers = run(chunks, [call(value, "b") for value in (2, 1, 1)], keep_results=good.__contains__)
    assert numbers == [3, 0, 4]
    book, numbers = run(chunks, [call(value, "b") for value in (1, 2, 3)])
    assert numbers == [6, 3, 7]
    # Of several versions the newest that is good.
    good |= {3, 6}
    book, numbers = run(chunks, [call(value, "c") for value in (1, 2, 3)], keep_results=good.__contains__)
    assert numbers == [6, 3, 2]


def test_another_name_is_another_program():
    chunks = []
    run(chunks, [call(1)])
    other = kind("b", "other.py")
    _, numbers = run(chunks, [call(1, of=other)], keep_results=lambda number: True)
    assert numbers == [1]


@pytest.mark.parametrize(
    "chunk",
    [
        stored.Chunk(1, bytes(16), '{"kinds":[],"runs":[]}'),
        stored.Chunk(0, bytes(16), '{"kinds":[],"runs":[]}'),
        stored.Chunk(0, bytes(16), "{}"),
        stored.Chunk(0, bytes(16), "damaged"),
        stored.Chunk(0, bytes(16), '{"kinds":[],"runs":[[1,7]]}'),
        stored.Chunk(
            0, bytes(16), '{"kinds":[{"name":"a","program":"","options":[],"block":0,"late":false}],"runs":[]}'
        ),
        stored.Chunk(
            0,
            bytes(16),
            '{"kinds":[{"name":"a","program":"","options":{},"block":0,"late":false}],"runs":[[-1,0],[2,0]]}',
        ),
        stored.Chunk(0, bytes(16), '{"kinds":[{"name":"a"}],"runs":[[1,0]]}'),
    ],
)
def test_damaged_rows(chunk):
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        ledger.Ledger().load(chunk)


def test_jobs_that_are_taken_back():
    """What was forgotten is known again, unless its call was made in the meantime."""
    book = loaded([run([], [call(value) for value in range(3)])[0].chunks(range(3))[0]])
    kept = book.forget([0, 1, 2])
    number, key = book.find(call(1))
    assert number == -1
    assert book.add(call(1), key) == 3
    book.restore(kept)
    assert book.find(call(0))[0] == 0
    assert book.find(call(2))[0] == 2
    assert list(book.not_called()) == []


def indexed(all_keys):
    index = keys.Index(all_keys)
    while not index.catch_up(100):
        pass
    return index


@given(st.lists(st.binary(min_size=1, max_size=3)), st.sets(st.integers(0, 50)))
@settings(deadline=None)
def test_an_index(texts, forgotten):
    texts = list(dict.fromkeys(texts))
    all_keys = bytearray()
    index = keys.Index(all_keys)
    made = [hashlib.sha256(text).digest()[:16] for text in texts]
    for key in made:
        assert index.find(key) == -1
        index.add(key)
    assert [index.find(key) for key in made] == list(range(len(made)))
    for number in forgotten:
        if number < len(made):
            all_keys[16 * number : 16 * number + 16] = bytes(16)
    for again in (index, indexed(all_keys)):
        found = [again.find(key) for key in made]
        assert found == [-1 if number in forgotten else number for number in range(len(made))]
        assert again.find(bytes(16)) in {-1, *forgotten}


def test_an_index_of_many():
    made = [hashlib.sha256(str(number).encode()).digest()[:16] for number in range(20_000)]
    all_keys = bytearray(b"".join(made[:5000]))
    index = indexed(all_keys)
    for key in made[5000:]:
        index.add(key)
    assert all(index.find(key) == number for number, key in enumerate(made))
    all_keys[: 16 * 15_000] = bytes(16 * 15_000)
    index = indexed(all_keys)  # the forgotten ones are not all in one place
    assert index.find(made[14_999]) == -1
    assert index.find(made[15_000]) == 15_000


def test_repeats():
    key = keys.first(bytes(32), bytes(32))
    assert keys.repeated(key, 0) == key
    assert len({keys.repeated(key, count) for count in range(100)}) == 100


def test_many_calls_are_indexed_a_part_at_a_time():
    first = ledger.Ledger()
    for value in range(10_000):
        made = call(value)
        first.add(made, first.find(made)[1])
    again = loaded([first.chunk()])
    with pytest.raises(ledger.Unindexed):
        again.find(call(5000))
    parts = 1
    while not again.make_index(1000):
        parts += 1
    assert parts > 4
    assert [again.find(call(value))[0] for value in (5000, 0, 9999)] == [5000, 0, 9999]
