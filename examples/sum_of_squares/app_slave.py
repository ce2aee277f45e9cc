import app_types

input = pyboinc_get_input()
output = app_types.Output(input.value * input.value)
pyboinc_return_output(output)
