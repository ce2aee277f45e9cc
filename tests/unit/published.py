"""Outputs as an assimilator publishes them."""

from __future__ import annotations

import hashlib
import os

from aioboinc.batch import outputs, partition
from aioboinc.wire import codec, envelope

__all__ = ["BATCH", "SHA", "job_failed", "load_all", "name", "opened", "publish", "remote_error"]

BATCH = 7
SHA = hashlib.sha256(b"").digest()


def opened(directory, *, njobs=1_000_000, registry=None, division=None):
    if division is None:
        division = partition.Partition()
        division.load({}, 0, njobs)
    return outputs.Outputs(directory, BATCH, lambda: registry or codec.Registry(), lambda: njobs, division)


def name(number):
    return f"pyboinc_{BATCH}_{number}"


def publish(directory, number, value, *, job=None):
    data = envelope.encode_output(job or name(number), SHA, SHA, value, None)
    (directory.new / name(number)).write_bytes(data)


def remote_error(directory, number):
    try:
        raise ValueError("negative")
    except ValueError as error:
        data = envelope.encode_error(name(number), SHA, SHA, error, os.path.dirname(__file__))
    (directory.new / name(number)).write_bytes(data)


def job_failed(directory, number):
    report = {
        "pyboinc": 1,
        "job": name(number),
        "reason": "too many errors",
        "error_mask": 2,
        "results": [{"name": "r_0", "reason": "exit 3", "exit_status": 3, "stderr": "boom"}],
    }
    (directory.new / f"{name(number)}.error").write_bytes(codec.encode(report))


def load_all(there, numbers):
    """Return the outputs *numbers*, loaded group by group."""
    loaded = []
    while numbers:
        group, gone = there.load(numbers)
        assert not gone
        assert group
        loaded += group
        numbers = numbers[len(group) :]
    return loaded
