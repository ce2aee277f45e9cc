"""``python -m aioboinc``."""

import sys

from aioboinc import cli

sys.exit(cli.main())
