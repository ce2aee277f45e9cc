"""BOINC's integers by name, and rows as frozen dataclasses.

Values and names are those of BOINC's ``lib/common_defs.h`` and ``db/boinc_db_types.h``.
Times are seconds since the epoch.
"""

from __future__ import annotations

import enum

__all__ = [
    "ENDED",
    "NEVER",
    "AssimilateState",
    "BatchState",
    "ClientState",
    "ErrorMask",
    "ExitStatus",
    "FileDeleteState",
    "Outcome",
    "ServerState",
    "SubmissionState",
    "TransitionerFlags",
    "ValidateState",
    "safety_net",
]

NEVER = 2147483647
"""The ``transition_time`` that means "nothing to do"."""
_TEN_DAYS = 10 * 86400


class ServerState(enum.IntEnum):
    INACTIVE = 1
    UNSENT = 2
    IN_PROGRESS = 4
    OVER = 5


class Outcome(enum.IntEnum):
    INIT = 0
    SUCCESS = 1
    COULDNT_SEND = 2
    CLIENT_ERROR = 3
    NO_REPLY = 4
    DIDNT_NEED = 5
    VALIDATE_ERROR = 6
    CLIENT_DETACHED = 7


class ClientState(enum.IntEnum):
    NEW = 0
    FILES_DOWNLOADING = 1
    FILES_DOWNLOADED = 2
    COMPUTE_ERROR = 3
    FILES_UPLOADING = 4
    FILES_UPLOADED = 5
    ABORTED = 6
    UPLOAD_FAILED = 7


class ValidateState(enum.IntEnum):
    INIT = 0
    VALID = 1
    INVALID = 2
    NO_CHECK = 3
    INCONCLUSIVE = 4
    TOO_LATE = 5


class AssimilateState(enum.IntEnum):
    INIT = 0
    READY = 1
    DONE = 2


class FileDeleteState(enum.IntEnum):
    INIT = 0
    READY = 1
    DONE = 2
    ERROR = 3


class ExitStatus(enum.IntEnum):
    """Exit statuses of failed results: those of BOINC's ``lib/error_numbers.h`` that a client reports."""

    NO_OUTPUT = 100
    """Ours: the slave ended without having returned an output."""
    EXIT_STATEFILE_WRITE = 192
    EXIT_SIGNAL = 193
    EXIT_ABORTED_BY_CLIENT = 194
    EXIT_CHILD_FAILED = 195
    EXIT_DISK_LIMIT_EXCEEDED = 196
    EXIT_TIME_LIMIT_EXCEEDED = 197
    EXIT_MEM_LIMIT_EXCEEDED = 198
    EXIT_CLIENT_EXITING = 199
    EXIT_UNSTARTED_LATE = 200
    EXIT_MISSING_COPROC = 201
    EXIT_ABORTED_BY_PROJECT = 202
    EXIT_ABORTED_VIA_GUI = 203
    EXIT_UNKNOWN = 204
    EXIT_OUT_OF_MEMORY = 205
    EXIT_INIT_FAILURE = 206
    EXIT_NO_SUB_TASKS = 207
    EXIT_SUB_TASK_FAILURE = 208
    EXIT_OVERDUE_EXCEEDED = 209
    ERR_FOPEN = -108
    ERR_GIVEUP_DOWNLOAD = -114
    ERR_GIVEUP_UPLOAD = -115
    ERR_MD5_FAILED = -119
    ERR_RSA_FAILED = -120
    ERR_FILE_TOO_BIG = -131
    ERR_FORK = -147
    ERR_EXEC = -148
    ERR_NOT_FOUND = -161
    ERR_RSC_LIMIT_EXCEEDED = -177
    ERR_RESULT_START = -185
    ERR_RESULT_DOWNLOAD = -186
    ERR_RESULT_UPLOAD = -187
    ERR_ABORTED_VIA_GUI = -197
    ERR_WRONG_SIZE = -200
    ERR_ABORTED_BY_PROJECT = -221
    ERR_HTTP_PERMANENT = -224
    ERR_TOO_MANY_EXITS = -226
    ERR_ABORTED_ON_EXIT = -232


class ErrorMask(enum.IntFlag):
    COULDNT_SEND_RESULT = 1
    TOO_MANY_ERROR_RESULTS = 2
    TOO_MANY_SUCCESS_RESULTS = 4
    TOO_MANY_TOTAL_RESULTS = 8
    CANCELLED = 16
    NO_CANONICAL_RESULT = 32


class BatchState(enum.IntEnum):
    """States of BOINC's own ``batch`` row."""

    INIT = 0
    IN_PROGRESS = 1
    COMPLETE = 2
    ABORTED = 3
    RETIRED = 4


ENDED = (BatchState.ABORTED, BatchState.RETIRED)
"""States of a batch that nobody expects anything more of."""


class SubmissionState(enum.IntEnum):
    """States of our ``pyboinc_batch`` row."""

    OPEN = 0
    """``make_calls`` has not returned yet, as far as the database knows."""
    SUBMITTED = 1
    """All calls are committed."""


class TransitionerFlags(enum.IntEnum):
    NONE = 1
    """No transitions: the transitioner leaves the workunit alone."""
    NO_NEW_RESULTS = 2
    """The transitioner makes no new results."""


def safety_net(now: int, delay_bound: int) -> int:
    """Return when the transitioner looks at a workunit again even if nothing happens, in case it missed something."""
    return min(now + max(_TEN_DAYS, delay_bound * 3 // 2), NEVER)
