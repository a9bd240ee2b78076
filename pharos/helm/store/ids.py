"""Ids of new records."""

from __future__ import annotations

from typing import Final

from pharos.wire.ids import uuid7
from pharos.wire.world import random_bytes, wall_ns

_MILLISECOND: Final = 1_000_000
_STEPS: Final = 4096


def fresh_id() -> str:
    """Return a new UUIDv7: later ones sort later, also within a millisecond (RFC 9562 §6.2, method 3)."""
    now_ns = wall_ns()
    step = now_ns % _MILLISECOND * _STEPS // _MILLISECOND
    return uuid7(now_ns, step.to_bytes(2, "big") + random_bytes(8))
