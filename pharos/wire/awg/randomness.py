"""Choices made from randomness that the caller passes in."""

from collections.abc import Callable
from typing import TypeAlias

Random: TypeAlias = Callable[[int], bytes]
"""Returns so many unpredictable bytes: ``os.urandom`` in a daemon, a seeded stream in a test."""


def uniform(random: Random, low: int, high: int) -> int:
    """Choose from ``low`` to ``high``, both included, without the bias of a plain modulo."""
    span = high - low + 1
    size = (span.bit_length() + 7) // 8
    limit = (1 << (8 * size)) // span * span
    while True:
        drawn = int.from_bytes(random(size), "little")
        if drawn < limit:
            return low + drawn % span
