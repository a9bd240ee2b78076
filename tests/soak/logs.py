"""What daemons have logged as an error, and whether a fault explains it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

GRACE: Final = 15.0
"""Seconds that what a fault has broken may still be spoken of."""
_LINE: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) (\w+) +([\w.]+): (.*)")
_LOUD: Final = frozenset({"ERROR", "CRITICAL"})
_TRACEBACK: Final = "Traceback (most recent call last)"


@attrs.frozen(kw_only=True)
class Fault:
    """Something that was done to the fleet on purpose."""

    kind: str
    target: str
    began: float
    """Seconds since 1970, as logs date their lines."""
    ended: float


EXPLAINS: Final = {
    # A disk without room is said loudly, by whoever writes to it.
    "full": re.compile(r"full|No space left|disk I/O|ENOSPC|cannot be (kept|written)", re.IGNORECASE),
}
"""Which words of an error a kind of fault explains. Nothing else that is done here is an error of anybody's: machines
die, lines are cut, and the fleet is made for it."""


def errors_in(log: Path, faults: Iterable[Fault]) -> list[str]:
    """Return what a log has of errors that no fault explains: a line each, or the line that a traceback follows."""
    faults = tuple(faults)
    found: list[str] = []
    before, settled = "its first line", False
    for line in log.read_text(errors="replace").splitlines():
        if (match := _LINE.match(line)) is not None:
            before = f"{match[3]} {match[4]}: {match[5]}"
            explained = any(_explains(fault, _moment(match), match[5]) for fault in faults)
            loud = match[3] in _LOUD
            settled = explained or loud
            if loud and not explained:
                found.append(f"{log.stem}: {before}")
        elif _TRACEBACK in line and not settled:
            found.append(f"{log.stem}: a traceback after {before}")
            settled = True
    return found


def _explains(fault: Fault, at: float, text: str) -> bool:
    words = EXPLAINS.get(fault.kind)
    return words is not None and fault.began <= at <= fault.ended + GRACE and words.search(text) is not None


def _moment(match: re.Match[str]) -> float:
    return datetime.datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").astimezone().timestamp() + int(match[2]) / 1000
