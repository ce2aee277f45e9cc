"""Numbers that hosts claim, brought into their ranges: the only place where these are checked.

What is missing, not a number or not finite gets a fallback; a number out of its range gets the range's nearest end.
BOINC's scheduler does the same, where it checks. A name without a range can't be read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["MAX_FLOPS", "MIN_FLOPS", "flops", "fraction", "integer", "number"]

MIN_FLOPS, MAX_FLOPS = 1e7, 1e11
"""Range of a core's floating-point operations a second in BOINC's benchmark, which is compiled C."""
_DEFAULT_FLOPS = 1e9
"""What BOINC assumes for a host that does not tell."""
_MAX_INT = 2**31 - 1
_MAX_BYTES = 2.0**60
_MAX_SECONDS = 1e9


@dataclass(frozen=True, slots=True)
class _Range:
    low: float
    high: float
    fallback: float = 0.0
    """Used for what is no number, and for 0 if that is out of the range."""

    def read(self, text: str | None) -> float:
        try:
            value = float(text or "")
        except ValueError:
            return self.fallback
        if not math.isfinite(value) or (value <= 0 < self.low):
            return self.fallback
        return min(max(value, self.low), self.high)


_BYTES = _Range(0, _MAX_BYTES)
_SECONDS = _Range(0, _MAX_SECONDS)
_FRACTION = _Range(0, 1, 1)
_COUNT = _Range(0, _MAX_INT)
_VERSION = _Range(0, 1e6)
_FLOPS = _Range(MIN_FLOPS, MAX_FLOPS, _DEFAULT_FLOPS)

_RANGES: Mapping[str, _Range] = {
    # The request.
    "hostid": _COUNT,
    "rpc_seqno": _COUNT,
    "core_client_major_version": _VERSION,
    "core_client_minor_version": _VERSION,
    "core_client_release": _VERSION,
    "cpu_req_secs": _SECONDS,
    "cpu_req_instances": _Range(0, 1e4),
    "duration_correction_factor": _Range(0.01, 100, 1),
    # The host.
    "timezone": _Range(-86400, 86400),
    "p_ncpus": _Range(1, 1024, 1),
    "p_fpops": _FLOPS,
    "p_iops": _Range(0, 1e13),
    "p_membw": _Range(0, 1e15),
    "m_nbytes": _BYTES,
    "m_cache": _BYTES,
    "m_swap": _BYTES,
    "d_total": _BYTES,
    "d_free": _BYTES,
    "d_boinc_used_total": _BYTES,
    "d_boinc_used_project": _BYTES,
    "d_project_share": _BYTES,
    "bwup": _Range(0, 1e13),
    "bwdown": _Range(0, 1e13),
    "on_frac": _FRACTION,
    "connected_frac": _Range(-1, 1, -1),
    "active_frac": _FRACTION,
    "gpu_active_frac": _FRACTION,
    # Its owner's preferences.
    "max_ncpus_pct": _Range(0, 100),
    "ram_max_used_busy_pct": _Range(0, 100),
    "ram_max_used_idle_pct": _Range(0, 100),
    # A result.
    "state": _COUNT,
    "exit_status": _Range(-_MAX_INT - 1, _MAX_INT),
    "app_version_num": _COUNT,
    "final_cpu_time": _SECONDS,
    "final_elapsed_time": _SECONDS,
    "final_peak_working_set_size": _BYTES,
    "final_peak_swap_size": _BYTES,
    "final_peak_disk_usage": _BYTES,
}
"""Ranges by names of elements. No host has 0 cores, or does 0 operations a second."""


def number(name: str, text: str | None) -> float:
    """Return the number in the *text* of the element *name*."""
    return _RANGES[name].read(text)


def integer(name: str, text: str | None) -> int:
    """Return the same, rounded towards 0."""
    return int(number(name, text))


def fraction(name: str, text: str | None) -> float:
    """Return a preference in percent as a fraction; 1 if it is missing or 0."""
    return number(name, text) / 100 or 1.0


def flops(value: float) -> float:
    """Return a host's operations a second, brought into their range; rows may be older than the range."""
    return _FLOPS.read(repr(value))
