"""Our BOINC daemons, each a program: ``python -m aioboinc.daemons.validator``."""

import sys

from aioboinc import starting

if sys.argv[:1] == ["-m"]:  # one of them is starting: until it handles signals itself, they end it silently
    starting.hush()
