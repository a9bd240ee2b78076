"""Choices made from randomness that the caller passes in."""

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

Random: TypeAlias = Callable[[int], bytes]
"""Returns so many unpredictable octets: ``os.urandom`` in a daemon, a seeded stream in a test."""

Item = TypeVar("Item")


def below(random: Random, limit: int) -> int:
    """Choose from 0 to ``limit`` - 1, all alike; ``limit`` is at most 256."""
    # Octets from the last, cut group of `limit` would favour the small numbers.
    usable = 256 - 256 % limit
    while (drawn := random(1)[0]) >= usable:
        pass
    return drawn % limit


def choice(random: Random, items: Sequence[Item]) -> Item:
    return items[below(random, len(items))]


def shuffled(random: Random, items: Sequence[Item]) -> tuple[Item, ...]:
    """Return the items in an order in which any is as likely as any other (Fisher and Yates)."""
    order = list(items)
    for last in range(len(order) - 1, 0, -1):
        other = below(random, last + 1)
        order[last], order[other] = order[other], order[last]
    return tuple(order)
