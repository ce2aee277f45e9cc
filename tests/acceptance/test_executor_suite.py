"""CPython's own tests of executors, as far as this Python has them in pieces (from 3.12 on, with its test package)."""

import unittest

import pytest

import aioboinc

executors = pytest.importorskip("test.test_concurrent_futures.executor")
as_completed = pytest.importorskip("test.test_concurrent_futures.test_as_completed")
shutdown = pytest.importorskip("test.test_concurrent_futures.test_shutdown")
util = pytest.importorskip("test.test_concurrent_futures.util")
wait = pytest.importorskip("test.test_concurrent_futures.test_wait")

DIFFERENT = {
    "test_map_exception": "the error is a RemoteError",
    "test_cancel_futures": "jobs that have begun are cancelled, too",
    "test_no_stale_references": "a method of an object can't be sent",
    "test_free_reference": "the result is of a class that is not the user's",
    "test_interpreter_shutdown": "what the function prints is on its host",
    "test_hang_gh83386": "what the function prints is on its host",
    "test_submit_after_interpreter_shutdown": "its program imports the executor from concurrent.futures",
    "test_max_workers_negative": "there is no max_workers",
}
"""See docs/executor.md."""


@pytest.fixture
def executor_type(tmp_path):
    folders = iter(range(1000))

    def make(max_workers):
        return aioboinc.Executor(tmp_path / str(next(folders)), workers=2, chunk=1)

    return make


@pytest.mark.parametrize(
    "tests", [executors.ExecutorTest, shutdown.ExecutorShutdownTest, as_completed.AsCompletedTests, wait.WaitTests]
)
def test_of_cpython(tests, executor_type):
    cls = type(
        "Tests",
        (util.ExecutorMixin, tests, util.BaseTestCase),
        {"worker_count": 2, "executor_type": staticmethod(executor_type)},
    )
    names = unittest.TestLoader().getTestCaseNames(cls)
    suite = unittest.TestSuite(cls(name) for name in names if name not in DIFFERENT)
    assert suite.countTestCases() >= 3
    result = unittest.TestResult()
    suite.run(result)
    assert [text for _, text in result.errors + result.failures] == []
