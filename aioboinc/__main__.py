"""``python -m aioboinc``, and the command ``aioboinc``."""

import sys

from aioboinc import starting

__all__ = ["main"]


def main() -> int:
    """Run the command line; return the exit status."""
    return starting.run("aioboinc.cli.main", "aioboinc")


if __name__ == "__main__":
    sys.exit(main())
