"""Packages that take an executor: dask, joblib, scipy."""

import functools
import importlib
import math
import sys

import dask
import joblib
import numpy
import pytest
import scipy.optimize

import aioboinc
import aioboinc.joblib

FUNCTIONS = """
def square(x):
    with open({computed!r}, "a") as file:
        print(x, file=file)
    return x * x


def add(x, y=1):
    return x + y


def total(numbers, names=()):
    return sum(numbers) + sum(names.values() if names else ())


def failing(x):
    raise LookupError(f"no {{x}}")


def bowl(point, middle):
    return float(((point - middle) ** 2).sum())
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    name = f"functions_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(FUNCTIONS.format(computed=str(tmp_path / "computed")))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(name)
    module.computed = lambda: [int(line) for line in (tmp_path / "computed").read_text().split()]
    yield module
    del sys.modules[name]


@pytest.fixture
def opened(tmp_path):
    return functools.partial(aioboinc.Executor, tmp_path / "batch", workers=2, chunk=1)


def test_dask(functions, opened):
    square, add, total = map(dask.delayed, (functions.square, functions.add, functions.total))
    squares = [square(x) for x in range(5)]
    graph = add(total(squares, names={"a": squares[2], "b": 3}), y=total([1, [squares[3]][0]]))
    for _ in range(2):
        with opened() as executor:
            assert dask.compute(graph, squares[4], scheduler=executor) == (30 + 4 + 3 + 1 + 9, 16)
            with dask.config.set(scheduler=executor):
                assert add(1, 2).compute() == 3
    assert sorted(functions.computed()) == list(range(5))


def test_what_dask_can_not_send(functions, opened):
    array = pytest.importorskip("dask.array")
    with opened() as executor:
        with pytest.raises(aioboinc.RemoteError, match="LookupError: no 3"):
            dask.delayed(functions.failing)(3).compute(scheduler=executor)
        with pytest.raises(aioboinc.UsageError) as caught:
            array.ones((4, 4), chunks=2).sum().compute(scheduler=executor)
        assert "dask.delayed" in " ".join([str(caught.value), *caught.value.__notes__])
        decorated = functions.add
        functions.add = dask.delayed(decorated)
        with pytest.raises(aioboinc.ProgramError, match=r"write dask\.delayed\(add\)"):
            functions.add(1, 2).compute(scheduler=executor)
        with pytest.raises(aioboinc.ProgramError, match="lambda"):
            dask.delayed(lambda x: x)(3).compute(scheduler=executor)


def test_joblib(functions, tmp_path):
    for _ in range(2):
        with joblib.parallel_config(backend="aioboinc", batch_dir=tmp_path / "batch", workers=2, chunk=1):
            calls = (joblib.delayed(functions.square)(x) for x in range(30))
            assert joblib.Parallel()(calls) == [x * x for x in range(30)]
            calls = [joblib.delayed(functions.add)(x, y=2) for x in range(5)]
            assert joblib.Parallel(n_jobs=2, batch_size=2)(calls) == [2, 3, 4, 5, 6]
    assert sorted(functions.computed()) == list(range(30))


def test_errors_of_joblib_calls(functions, tmp_path):
    with joblib.parallel_config(backend="aioboinc", batch_dir=tmp_path / "batch", workers=2, chunk=1):
        with pytest.raises(aioboinc.RemoteError, match="LookupError: no 1"):
            joblib.Parallel()(joblib.delayed(functions.failing)(x) for x in [1])
        with pytest.raises(aioboinc.ProgramError, match="lambda"):
            joblib.Parallel()(joblib.delayed(lambda x: x)(x) for x in range(3))
        with pytest.raises(aioboinc.NotData):
            joblib.Parallel(n_jobs=2)(joblib.delayed(functions.add)(x) for x in [1, 2, 3, 4, 5, 6, print])
        results = joblib.Parallel(return_as="generator")(joblib.delayed(functions.add)(x) for x in range(3))
        assert list(results) == [1, 2, 3]
        with pytest.raises(ValueError, match="n_jobs"):
            joblib.Parallel(n_jobs=0)(joblib.delayed(functions.add)(x) for x in range(3))


def test_scipy(functions, opened):
    middle = numpy.array([1.0, -2.0])

    def optimum(workers):
        return scipy.optimize.differential_evolution(
            functions.bowl,
            [(-3, 3), (-3, 3)],
            args=(middle,),
            workers=workers,
            updating="deferred",
            rng=5,
            maxiter=1,
            popsize=3,
            polish=False,
        )

    here = optimum(map)
    for _ in range(2):
        with opened() as executor:
            there = optimum(executor.map)
        assert there.fun == here.fun
        assert there.x.tolist() == here.x.tolist()
    assert math.isfinite(here.fun)
