"""``python -m aioboinc run`` on the embedded project: the whole way of a job, with real processes."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import textwrap

from patience import PATIENCE

SLAVE = """
    value = pyboinc_get_input()
    pyboinc_return_output(value * 2)
"""


def test_sum_of_squares(sum_of_squares):
    finished = sum_of_squares.run()
    assert finished.stdout == "The answer is 328350\n"
    assert finished.returncode == 0
    assert "100 of 100 jobs done" in finished.stderr
    assert sum_of_squares.query("SELECT COUNT(*) FROM workunit") == [(100,)]
    assert len(os.listdir(sum_of_squares.folder / "old")) == 100
    assert os.listdir(sum_of_squares.folder / "new") == []


def test_the_same_command_again_hands_over_the_same_results(few_squares):
    few_squares.run()
    finished = few_squares.run()
    assert (finished.stdout, finished.returncode) == ("The answer is 30\n", 0)
    assert few_squares.query("SELECT COUNT(*) FROM workunit") == [(5,)]
    assert few_squares.query("SELECT COUNT(*) FROM batch") == [(1,)]


def test_inputs_and_outputs_are_deleted_once_they_are_assimilated(few_squares):
    few_squares.run()
    left = [
        name
        for folder in ("download", "upload")
        for _, _, names in os.walk(few_squares.folder / ".pyboinc" / folder)
        for name in names
        if name.startswith("pyboinc_") and not name.startswith("pyboinc_program_")
    ]
    states = few_squares.query(
        "SELECT file_delete_state FROM workunit UNION ALL SELECT file_delete_state FROM result"
    )
    assert len(left) <= sum(state != 2 for (state,) in states)


def test_fresh_keeps_nothing(few_squares):
    few_squares.run()
    before = few_squares.query("SELECT token FROM pyboinc_batch")
    finished = few_squares.run("--fresh")
    assert (finished.stdout, finished.returncode) == ("The answer is 30\n", 0)
    after = few_squares.query("SELECT token FROM pyboinc_batch")
    assert len(after) == 1
    assert after != before


def test_quiet(few_squares):
    finished = few_squares.run("--quiet")
    assert (finished.stdout, finished.stderr) == ("The answer is 30\n", "")


def test_a_bar_on_a_terminal(few_squares):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        process = subprocess.Popen(
            few_squares.command, cwd=few_squares.folder, stderr=slave, stdout=subprocess.PIPE, text=True
        )
        os.close(slave)
        shown = b""
        try:
            while data := os.read(master, 4096):
                shown += data
        except OSError:
            pass  # the terminal's other end is closed
        assert process.communicate(timeout=PATIENCE)[0] == "The answer is 30\n"
    finally:
        os.close(master)
    assert b"100%" in shown
    assert b"5/5" in shown


def test_names_as_on_the_design_page_without_an_import(program):
    program.write(
        app_slave=SLAVE,
        app_master="""
            results = []
            def make_calls():
                for i in range(5):
                    pyboinc_call("app_slave.py", i)
            await pyboinc_master(make_calls, results.append)
            print(sorted(results))
        """,
    )
    assert program.run().stdout == "[0, 2, 4, 6, 8]\n"


def test_plain_python(program):
    program.write(
        app_slave=SLAVE,
        app_master="""
            import asyncio
            from aioboinc import pyboinc_call, pyboinc_master

            results = []

            async def make_calls():
                for i in range(5):
                    pyboinc_call("app_slave.py", i)

            if __name__ == "__main__":
                summary = asyncio.run(pyboinc_master(make_calls, results.append, workers=1))
                print(sorted(results), summary.jobs, summary.failed)
        """,
    )
    finished = subprocess.run(
        [sys.executable, "app_master.py"],
        cwd=program.folder,
        env=program.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (finished.stdout, finished.stderr) == ("[0, 2, 4, 6, 8] 5 0\n", "")


def test_arguments_and_batch_directory(program, tmp_path):
    program.write(
        app_slave=SLAVE,
        app_master="""
            import sys
            async def make_calls():
                await pyboinc_call("app_slave.py", int(sys.argv[1]))
            await pyboinc_master(make_calls, print)
        """,
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program.command.append("21")
    assert program.run("--batch-dir", "elsewhere").stdout == "42\n"
    assert (elsewhere / "pyboinc_checkpoint").exists()
    assert program.files() == {"elsewhere"}


def test_quorum_two_runs_replicas_on_different_hosts(program):
    program.write(
        app_slave=SLAVE,
        app_master="""
            async def make_calls():
                for i in range(10):
                    await pyboinc_call("app_slave.py", i, quorum=2)
            total = 0
            def handle_result(output):
                global total
                total += output
            await pyboinc_master(make_calls, handle_result)
            print(total)
        """,
    )
    finished = program.run()
    assert finished.stdout == "90\n", finished.stderr
    assert program.query("SELECT COUNT(*), COUNT(DISTINCT workunitid || '/' || hostid) FROM result") == [(20, 20)]


def test_slaves_with_modules_data_files_and_all_kinds_of_data(program):
    program.write(
        app_types="""
            import dataclasses, enum
            class Colour(enum.Enum):
                RED = 1
            @dataclasses.dataclass(frozen=True)
            class Point:
                x: float
                y: float
                colour: Colour = Colour.RED
        """,
        helper="""
            import pathlib
            from deeper import table
            def read():
                return (pathlib.Path(__file__).parent / "table.csv").read_text() + table.NAME
        """,
        app_slave="""
            import numpy, app_types, helper
            points = pyboinc_get_input()
            pyboinc_fraction_done(0.5)
            pyboinc_return_output({
                "array": numpy.array([point.x for point in points]),
                "points": tuple(points), "text": helper.read(),
            })
        """,
        app_master="""
            import app_types
            async def make_calls():
                points = [app_types.Point(i / 2, -i) for i in range(3)]
                await pyboinc_call("app_slave.py", points, include=["table.csv"])
            async def handle_result(output):
                print(output["array"].tolist(), output["points"][1], output["text"])
            await pyboinc_master(make_calls, handle_result)
        """,
    )
    (program.folder / "deeper").mkdir()
    (program.folder / "deeper" / "__init__.py").write_text("")
    (program.folder / "deeper" / "table.py").write_text("NAME = '!'")
    (program.folder / "table.csv").write_text("1,2")
    finished = program.run()
    assert finished.stdout == ("[0.0, 0.5, 1.0] Point(x=0.5, y=-1, colour=<Colour.RED: 1>) 1,2!\n"), (
        finished.stderr
    )


def test_several_masters_in_one_process_and_one_is_cancelled(program):
    """The others run on, and the cancelled one can be resumed."""
    program.write(
        app_slave=SLAVE,
        slow_slave="""
            import os, time
            while not os.path.exists(pyboinc_get_input()):
                time.sleep(0.01)
            pyboinc_return_output("late")
        """,
    )
    script = program.folder / "service.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, os
            from aioboinc import pyboinc_call, pyboinc_master
            flag = os.path.abspath("flag")

            async def slow_calls():
                await pyboinc_call("slow_slave.py", flag)

            async def calls(n):
                for i in range(20):
                    await pyboinc_call("app_slave.py", n + i)

            async def main():
                for name in ("a", "b", "slow"):
                    os.mkdir(name)
                results = {"a": [], "b": [], "slow": []}
                submitted = asyncio.Event()
                slow = asyncio.create_task(pyboinc_master(
                    slow_calls, results["slow"].append, batch_dir="slow", workers=1,
                    progress=lambda progress: submitted.set()))
                await submitted.wait()
                masters = [
                    asyncio.create_task(pyboinc_master(
                        lambda n=n: calls(n), results[name].append, batch_dir=name, workers=1))
                    for n, name in enumerate("ab")
                ]
                slow.cancel()
                await asyncio.gather(*masters)
                try:
                    await slow
                except asyncio.CancelledError:
                    print("cancelled", results["slow"])
                print(sum(results["a"]), sum(results["b"]))
                open(flag, "w").close()
                await pyboinc_master(slow_calls, results["slow"].append, batch_dir="slow", workers=1)
                print(results["slow"])

            asyncio.run(main())
            """
        )
    )
    finished = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=program.folder,
        env=program.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert finished.stdout == "cancelled []\n380 420\n['late']\n", finished.stderr
    assert finished.stderr == ""
