"""Slaves that fail in all the ways there are."""

import pytest

MASTER = """
    from aioboinc import RemoteError

    async def make_calls():
        for i in range(3):
            await pyboinc_call("app_slave.py", i, {options})

    def handle_error(error):
        print(f"{{type(error).__name__}} {{error.call}}: {{error.reason}}")
        for result in error.results:
            print("  ", result.reason, "|", result.stderr.strip().splitlines()[-1:])

    summary = await pyboinc_master(make_calls, print, handle_error=handle_error)
    print(summary.jobs, summary.failed)
"""


def run(program, slave, options="", *, expect=0):
    program.write(app_master=MASTER.format(options=options), app_slave=slave)
    finished = program.run("--quiet")
    assert finished.returncode == expect, finished.stderr
    return finished.stdout


def test_a_slave_that_raises(program):
    program.write(helper="def check(value):\n    raise ValueError(f'bad value {value}')\n")
    output = run(
        program,
        """
        import helper
        value = pyboinc_get_input()
        if value == 1:
            helper.check(value)
        pyboinc_return_output(value)
        """,
    )
    assert sorted(output.splitlines()) == ["0", "2", "3 1", "RemoteError 1: ValueError: bad value 1"]
    # A deterministic exception is an output: it is not tried again.
    assert program.query("SELECT COUNT(*) FROM result") == [(3,)]


def test_the_remote_traceback(program):
    program.write(
        helper="def check(value):\n    raise ValueError('bad')\n",
        app_slave="import helper\n\nhelper.check(pyboinc_get_input())\n",
        app_master="""
            async def make_calls():
                await pyboinc_call("app_slave.py", 1)
            await pyboinc_master(make_calls, print)
        """,
    )
    finished = program.run("--quiet")
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert "1 of 1 jobs failed" in finished.stderr
    assert "ValueError: bad" in finished.stderr
    assert 'File "app_slave.py", line 3' in finished.stderr
    assert 'File "helper.py", line 2, in check' in finished.stderr
    assert str(program.folder) not in finished.stderr


@pytest.mark.parametrize(
    ("slave", "options", "reason"),
    [
        ("import sys; sys.exit(3)", "", "exited with status 3"),
        ("import os; os._exit(7)", "", "7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "", "signal 9"),
        ("pass", "", "no output"),
        ("try:\n    import nowhere_to_be_found\nexcept ImportError:\n    raise", "", "nowhere_to_be_found"),
        ("while True: pass", "rsc_fpops_bound=0.3e9", "time limit"),
        (
            "hog = bytearray(300_000_000)\nimport time\ntime.sleep(60)",
            "rsc_memory_bound=100e6",
            "used more memory",
        ),
    ],
    ids=[
        "exits",
        "exits at once",
        "is killed",
        "returns nothing",
        "lacks a package",
        "overruns time",
        "overruns memory",
    ],
)
def test_a_slave_that(program, slave, options, reason):
    """fails on every try: three errors are allowed, the fourth is one too many."""
    slave = (
        "value = pyboinc_get_input()\nif value:\n    pyboinc_return_output(value)\nelse:\n    "
        + slave.replace("\n", "\n    ")
    )
    output = run(program, slave, f"max_error_results=1, {options}")
    lines = output.splitlines()
    assert {"1", "2", "3 1"} <= set(lines)
    (failed,) = [line for line in lines if line.startswith("JobFailed 0: ")]
    reports = [line for line in lines if line.startswith("   ")]
    assert len(reports) == 2
    assert reason in failed + "".join(reports), output


def test_errors_of_a_handler_stop_the_master(program):
    program.write(
        app_slave="pyboinc_return_output(1)",
        app_master="""
            async def make_calls():
                for _ in range(5):
                    await pyboinc_call("app_slave.py", None)

            def handle_result(output):
                raise RuntimeError("handler")

            await pyboinc_master(make_calls, handle_result)
        """,
    )
    finished = program.run("--quiet")
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == "RuntimeError: handler"
    assert "app_master.py" in finished.stderr.splitlines()[1]
    text = (program.folder / "app_master.py").read_text()
    (program.folder / "app_master.py").write_text(text.replace('raise RuntimeError("handler")', "print(output)"))
    assert program.run("--quiet").stdout == "1\n" * 5


def test_a_slave_that_disagrees_with_itself_finds_no_quorum(program):
    program.write(
        app_slave="import os; pyboinc_return_output(os.getpid())",
        app_master="""
            async def make_calls():
                await pyboinc_call("app_slave.py", None, quorum=2, max_success_results=2)

            def handle_error(error):
                print(error.reason)

            await pyboinc_master(make_calls, print, handle_error=handle_error)
        """,
    )
    finished = program.run("--quiet")
    assert "no" in finished.stdout, finished.stderr
    assert not finished.stdout.strip().isdigit()
