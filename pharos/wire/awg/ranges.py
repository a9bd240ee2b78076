"""A whole number, or the range that one is picked from anew each time: ``7`` or ``7-9``."""

from __future__ import annotations

import re
from typing import Final

import attrs

from pharos.wire.awg.randomness import Random, uniform

MAX_U32: Final = 2**32 - 1
# Ten digits hold every u32, and keep the conversion of a hostile text short.
_RANGE: Final = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", re.ASCII)


@attrs.frozen(order=True)
class Range:
    """From ``low`` to ``high``, both included; nothing is checked here but their types."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"

    def __contains__(self, value: int) -> bool:
        return self.low <= value <= self.high

    @property
    def span(self) -> int:
        """How many numbers it holds."""
        return self.high - self.low + 1

    def overlaps(self, other: Range) -> bool:
        """Tell whether a number is in both."""
        return self.low <= other.high and other.low <= self.high

    def pick(self, random: Random) -> int:
        """Draw one; a range of one number costs no randomness."""
        return self.low if self.low == self.high else uniform(random, self.low, self.high)

    def as_json(self) -> int | str:
        """The number itself when it is one, the text of the range otherwise."""
        return self.low if self.low == self.high else str(self)


def parse_range(text: str) -> Range:
    """Read ``7`` or ``7-9``, decimal and without spaces.

    Raises: ValueError — it is neither.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    low = int(found[1])
    return Range(low, low if found[2] is None else int(found[2]))
