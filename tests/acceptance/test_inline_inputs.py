"""Small inputs as part of their workunits: nothing but the files is different."""

import os
import signal

MASTER = """
    import os
    total = 0

    async def make_calls():
        for i in range(60):
            await pyboinc_call("app_slave.py", (i, "x" * (2000 if i % 10 == 0 else 10)), quorum=2 if i < 4 else 1)

    def handle_result(output):
        global total
        total += output
        if os.path.exists("stop"):
            os.kill(os.getpid(), 9)

    await pyboinc_master(make_calls, handle_result, inline_inputs=int(open("limit").read()))
    print(total)
"""
SLAVE = """
    number, text = pyboinc_get_input()
    pyboinc_return_output(number * number + len(text))
"""
ANSWER = sum(i * i + (2000 if i % 10 == 0 else 10) for i in range(60))


def inline(program):
    return program.query("SELECT COUNT(*) FROM workunit WHERE CAST(xml_doc AS TEXT) LIKE '%--input-base64 %'")


def test_answer(program):
    program.write(app_master=MASTER, app_slave=SLAVE)
    (program.folder / "limit").write_text("500")
    finished = program.run("--quiet")
    assert (finished.stdout, finished.stderr) == (f"{ANSWER}\n", "")
    assert inline(program) == [(54,)]


def test_resumed_with_another_limit(program):
    program.write(app_master=MASTER, app_slave=SLAVE)
    (program.folder / "limit").write_text("500")
    (program.folder / "stop").touch()
    assert program.run("--quiet").returncode == -signal.SIGKILL
    (program.folder / "limit").write_text("0")
    os.unlink(program.folder / "stop")
    finished = program.run("--quiet")
    assert (finished.stdout, finished.stderr) == (f"{ANSWER}\n", "")
    assert program.query("SELECT COUNT(*) FROM workunit") == [(60,)]


def test_an_input_that_has_changed(program):
    """Its call is another one; the others are the jobs that they were."""
    program.write(app_master=MASTER, app_slave=SLAVE)
    (program.folder / "limit").write_text("500")
    assert program.run("--quiet").returncode == 0
    program.write(app_master=MASTER.replace("(i, ", "(i + (i == 33), "))
    finished = program.run("--quiet")
    assert (finished.stdout, finished.stderr) == (f"{ANSWER - 33**2 + 34**2}\n", "")
    assert program.query("SELECT COUNT(*) FROM workunit") == [(61,)]


def test_a_limit_that_does_not_work(program):
    program.write(app_master=MASTER, app_slave=SLAVE)
    (program.folder / "limit").write_text("5000")
    finished = program.run("--quiet")
    assert finished.returncode == 2
    assert "inline_inputs=5000" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
    assert program.files() == {"limit"}
