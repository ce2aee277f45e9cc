"""Which workunit each call is in."""

import json

import pytest
from hypothesis import strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aioboinc.batch.partition import Partition, Workunit


def test_names():
    assert Workunit(3, 1).name(7) == "pyboinc_7_3"
    assert Workunit(3, 20).name(7) == "pyboinc_7_3_20"


def test_single_calls_are_not_described():
    partition = Partition()
    partition.extend([1, 1, 1])
    assert partition.described(0, 3) == {}


def test_equal_workunits_take_one_row():
    partition = Partition()
    partition.extend([100] * 20 + [48])
    assert partition.described(0, 2048) == {"workunits": [[100, 0, 100, 20], [48, 2000, 48, 1]], "made": 21}


@pytest.mark.parametrize(
    "described",
    [
        {"workunits": [[1, 0, 1, 1]], "made": 1},  # of two calls
        {"workunits": [[3, 0, 3, 1]], "made": 1},
        {"workunits": [[2, 1, 2, 1]], "made": 1},
        {"workunits": [[2, 0, 1, 1]], "made": 1},
        {"workunits": [[1, 0, 1, 10**9]], "made": 1},
        {"workunits": [[2, 0, 10**9, 1]], "made": 1},
        {"workunits": [[2, 0, 2, 1]], "made": 0},
        {"workunits": [[0, 0, 2, 1]], "made": 1},
        {"workunits": [[2, 0, 2]], "made": 1},
        {"workunits": 5, "made": 1},
        {"workunits": [[2, 0, 2, 1]]},
    ],
)
def test_damaged(described):
    with pytest.raises((ValueError, TypeError, LookupError)):
        Partition().load(described, 0, 2)


class Partitions(RuleBasedStateMachine):
    """A partition beside a list of workunits."""

    @initialize()
    def begin(self):
        self.partition = Partition()
        self.model = []
        self.chunks = []
        self.made = 0

    @rule(counts=strategies.lists(strategies.integers(1, 6), min_size=1, max_size=6))
    def extend(self, counts):
        first = len(self.model)
        expected = []
        for count in counts:
            workunit = Workunit(len(self.model), count)
            expected.append(workunit)
            self.model += [workunit] * count
        assert self.partition.extend(counts) == expected
        self.chunks.append((first, len(self.model)))
        self.made += len(counts)

    @precondition(lambda self: any(workunit.ncalls > 1 for workunit in self.model))
    @rule(data=strategies.data())
    def move(self, data):
        larger = [number for number, workunit in enumerate(self.model) if workunit.ncalls > 1]
        first = data.draw(strategies.sampled_from(larger))
        old = self.model[first]
        count = 1
        while (
            first + count < len(self.model)
            and self.model[first + count] == old
            and data.draw(strategies.booleans())
        ):
            count += 1
        if count == old.ncalls:
            count -= 1
        (chunk,) = (begin for begin, end in self.chunks if begin <= first < end)
        new = self.partition.move(first, count, chunk)
        assert new == Workunit(first, count)
        self.model[first : first + count] = [new] * count
        self.made += 1

    @rule()
    def load(self):
        loaded = Partition()
        for first, end in self.chunks:
            described = json.loads(json.dumps(self.partition.described(first, end)))
            loaded.load(described, first, end - first)
        self.partition = loaded

    @invariant()
    def is_the_same(self):
        assert [self.partition.of(number) for number in range(len(self.partition))] == self.model
        assert self.partition.nworkunits == self.made
        for workunit in {*self.model, Workunit(0, 6), Workunit(len(self.model), 2)}:
            assert self.partition.calls(workunit) == [
                number for number, other in enumerate(self.model) if other == workunit
            ]


TestPartitions = Partitions.TestCase
