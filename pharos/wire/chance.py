"""What is drawn from the machine's chance besides octets: numbers, choices, and texts nobody guesses."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final, TypeVar

from pharos.wire.world import random_bytes

T = TypeVar("T")

# What a float holds of one (IEEE 754, binary64).
_FRACTION_BITS: Final = 53


def fraction() -> float:
    """Draw a number from [0, 1), each as likely."""
    return (int.from_bytes(random_bytes(7), "big") >> 7 * 8 - _FRACTION_BITS) / (1 << _FRACTION_BITS)


def between(low: float, high: float) -> float:
    """Draw a number from between two, each as likely; a float that is rounded may be the upper one."""
    return low + (high - low) * fraction()


def below(bound: int) -> int:
    """Draw a whole number from 0 to ``bound`` - 1, each exactly as likely. ``bound`` is positive."""
    bits = (bound - 1).bit_length()
    octets = -(-bits // 8)
    while True:
        # Of what is drawn at least every second fits.
        drawn = int.from_bytes(random_bytes(octets), "big") >> octets * 8 - bits
        if drawn < bound:
            return drawn


def choose(among: Sequence[T]) -> T:
    """Draw one of several, each exactly as likely."""
    return among[below(len(among))]


def draw_bits(count: int) -> int:
    """Draw a whole number of at most so many bits."""
    return below(1 << count)


def token_hex(octets: int) -> str:
    """Draw so many octets; return them as hexadecimal digits."""
    return random_bytes(octets).hex()


def token_urlsafe(octets: int) -> str:
    """Draw so many octets; return them as what may stand in an address (RFC 4648 §5, without padding)."""
    return base64.urlsafe_b64encode(random_bytes(octets)).rstrip(b"=").decode()
