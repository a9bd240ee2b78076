"""Sequence numbers: 32 bits on the wire, and whole numbers that never wrap inside (RFC 9293 §3.4).

Everything inside counts octets from the initial sequence number on, without end; only a header has less room.
"""

from typing import Final

MASK: Final = 0xFFFFFFFF
_HALF: Final = 1 << 31


def unwrap(number: int, near: int) -> int:
    """Return the whole number that is ``number`` modulo 2^32 and nearest to ``near``."""
    return near + ((number - near + _HALF) & MASK) - _HALF


def is_before(number: int, other: int) -> bool:
    """Whether one number of 32 bits comes before another (RFC 7323 §5.2 compares timestamps so)."""
    return (number - other) & MASK >= _HALF
