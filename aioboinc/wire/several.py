"""Inputs of a workunit of several calls."""

from __future__ import annotations

from typing import Any

from aioboinc.wire import codec

__all__ = ["decode_inputs", "encode_inputs"]


def encode_inputs(limit: float, inputs: Any) -> bytes:
    return codec.encode([float(limit), list(inputs)])


def decode_inputs(data: bytes) -> Any:
    return codec.decode(data, None)
