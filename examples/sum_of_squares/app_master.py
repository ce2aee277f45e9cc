import app_types

from aioboinc import pyboinc_call, pyboinc_master

total = 0


async def make_calls():
    for i in range(100):
        await pyboinc_call("app_slave.py", app_types.Input(i))


def handle_result(output):
    global total
    total += output.value


await pyboinc_master(make_calls, handle_result)
print("The answer is", total)
