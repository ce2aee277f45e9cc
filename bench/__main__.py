"""``python -m bench``."""

import sys

from aioboinc import starting

if __name__ == "__main__":
    sys.exit(starting.run("bench.command", "bench", "[test]"))
