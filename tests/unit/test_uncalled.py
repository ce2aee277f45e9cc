"""Calls that are taken back."""

import hashlib

from aioboinc.batch import keys, ledger, uncalled
from aioboinc.program import bundle
from aioboinc.store import jobs


def call(value, kind):
    sha256 = hashlib.sha256(value).digest()
    return jobs.Call(kind, value, sha256, keys.first(kind.program, sha256), False, None)


def book_of(*values):
    sources = bundle.Sources.__new__(bundle.Sources)
    kind = jobs.Kind(sources, "f", bytes(32), jobs.Options(), {}, bytes(32))
    book = ledger.Ledger()

    def make(value):
        one = call(value, kind)
        number, key = book.find(one)
        return book.add(one, key) if number < 0 else number

    for value in values:
        make(value)
    return book, make


def test_a_call_made_again_is_the_same_job():
    book, make = book_of(b"a", b"b")
    book.chunk()
    taken_back = uncalled.Uncalled(book)
    taken_back.add([1], 2)
    assert not book.is_called(1)
    assert list(book.not_called()) == [1]
    assert taken_back.has_all([1])
    assert not taken_back.has_all([0, 1])
    assert make(b"b") == 1
    taken_back.called(1)
    assert book.is_called(1)
    assert not taken_back.has_all([1])
    assert list(book.not_called()) == []


def test_a_call_that_is_not_in_the_project_yet_can_not_be_made_again():
    book, make = book_of(b"a", b"b")
    taken_back = uncalled.Uncalled(book)
    taken_back.add([0, 1], 1)
    assert make(b"b") == 2
    assert make(b"a") == 0
    taken_back.committed(2)
    assert list(book.not_called()) == []  # the call 1 is another job by now
    assert taken_back.count == 2


def test_the_key_comes_back_with_the_commit():
    book, make = book_of(b"a", b"b")
    taken_back = uncalled.Uncalled(book)
    taken_back.add([1], 0)
    taken_back.committed(1)
    assert list(book.not_called()) == []
    taken_back.committed(2)
    assert list(book.not_called()) == [1]
    assert make(b"b") == 1
