"""Slaves that fail in all the ways there are."""

import sys
import textwrap

import pytest

MASTER = """
    from aioboinc import RemoteError

    async def make_calls():
        for i in range(3):
            # The bounds are those of the call that fails: the others may take their time.
            await pyboinc_call("app_slave.py", i, **(dict({options}) if i == 0 else {{}}))

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


def test_a_service_sees_its_own_frames(program):
    """In a plain program, where no command line of ours prints the error."""
    program.command = [sys.executable, "app_master.py"]
    program.write(
        app_slave="pyboinc_return_output(1)",
        app_master="""
            import asyncio, traceback
            from aioboinc import pyboinc_call, pyboinc_master

            async def make_calls():
                await pyboinc_call("app_slave.py", None)

            async def handle_result(output):
                await asyncio.sleep(0)
                1 / 0

            async def serve():
                try:
                    await pyboinc_master(make_calls, handle_result, workers=1)
                except ZeroDivisionError as error:
                    print([frame.name for frame in traceback.extract_tb(error.__traceback__)])
                    print(error.__context__, getattr(error, "__notes__", None))

            asyncio.run(serve())
        """,
    )
    assert program.run().stdout == "['serve', 'handle_result']\nNone None\n"


@pytest.mark.parametrize("handle_error", ["None", "fail"])
def test_what_hosts_send_is_printed_safely(program, handle_error):
    program.write(
        app_slave="""
            import sys
            evil = "\\x1b]0;title\\x07\\u202e\\nforged"
            print(evil, file=sys.stderr)
            if pyboinc_get_input():
                raise ValueError(evil)
            sys.exit(3)
        """,
        app_master=f"""
            async def make_calls():
                for i in range(2):
                    await pyboinc_call("app_slave.py", i, max_error_results=1)
            def fail(error):
                if error.call == 1:
                    raise error
            await pyboinc_master(make_calls, print, handle_error={handle_error})
        """,
    )
    finished = program.run("--quiet")
    assert finished.returncode == 1
    assert finished.stderr.replace("\n", "").isprintable()
    assert r"ValueError: \x1b]0;title\x07\u202e\nforged" in finished.stderr
    assert not any(line.startswith("forged") for line in finished.stderr.splitlines())
    if handle_error == "None":
        assert "\n      \\x1b]0;title\\x07\\u202e\n" in finished.stderr  # what it wrote to stderr


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
            "hog = bytearray(300_000_000)\nimport time\ntime.sleep(1e6)",
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


@pytest.mark.parametrize("error", ["RuntimeError", "FileNotFoundError"])
def test_errors_of_a_handler_stop_the_master(program, error):
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
    master = program.folder / "app_master.py"
    master.write_text(master.read_text().replace("RuntimeError", error))
    finished = program.run("--quiet")
    assert finished.returncode == 1
    assert finished.stderr.replace(str(program.folder), "") == textwrap.dedent(
        """\
        Traceback (most recent call last):
          File "/app_master.py", line 9, in <module>
            await pyboinc_master(make_calls, handle_result)
          File "/app_master.py", line 7, in handle_result
            raise RuntimeError("handler")
        RuntimeError: handler
        """
    ).replace("RuntimeError", error)
    master.write_text(master.read_text().replace(f'raise {error}("handler")', "print(output)"))
    finished = program.run("--quiet")
    assert (finished.stderr, finished.stdout) == ("", "1\n" * 5)


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
