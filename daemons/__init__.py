"""BOINC's daemons of ours, each a program: ``python -m aioboinc.daemons.validator``."""

import sys

from aioboinc import starting

if sys.argv[:1] == ["-m"]:  # one of them is being started: until it sees to signals itself, it ends without a word
    starting.hush()
