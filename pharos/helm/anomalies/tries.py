"""The rule over refused tries: many within a short time, at one door and by one name, or by any."""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

from pharos.helm.anomalies.facts import Finding
from pharos.helm.model.alerts import Severity
from pharos.helm.store.times import rfc3339

BRUTE_FORCE: Final = "brute_force"
DENIED_TRIES: Final = "denied_device_tries"

WINDOW: Final = 10 * 60 * 1_000_000
"""Microseconds."""
# Somebody who has forgotten a password tries five times. The throttle lets ten a minute through in all.
TRIES: Final = 10
# A program that was left running when its device was revoked asks again with back-off, a few times in ten minutes.
DENIED_MOST: Final = 3
# Names that are tried are made up by whoever tries; 1,000 of them are some 200 kB.
MAX_NAMES: Final = 1_000
MAX_SHOWN: Final = 64


class Door(enum.Enum):
    """Where somebody tried to come in."""

    ADMIN = "admin sign-in"
    LOGIN = "account login"
    ENROLMENT = "enrolment"
    DENIED = "denied device"


class Tries:
    """Counts refused tries; a pure machine."""

    def __init__(self) -> None:
        # In order of last use, so that the stalest is first.
        self._known: dict[tuple[Door, str], deque[int]] = {}
        self._found: dict[tuple[Door, str], Finding] = {}

    def refused(self, door: Door, name: str, at: int) -> None:
        """Count one; ``name`` is whom it was about, as whoever tried said, and ``at`` microseconds since 1970."""
        names = [_shown(name)] if door is Door.DENIED else [_shown(name), ""]
        for tried in names:
            key = (door, tried)
            times = self._known.pop(key, None) or deque(maxlen=TRIES)
            times.append(at)
            if len(self._known) >= MAX_NAMES:
                del self._known[next(iter(self._known))]
            self._known[key] = times
            most = DENIED_MOST if door is Door.DENIED else TRIES
            if len(times) >= most and at - times[-most] <= WINDOW:
                self._found[key] = _finding(door, tried, most, times[-most], at)

    def take(self) -> list[Finding]:
        """Hand over what was found since the last time.

        Where one name stands out, nothing is said of the door as a whole.
        """
        found, self._found = self._found, {}
        named = {door for door, name in found if name}
        return [finding for (door, name), finding in found.items() if name or door not in named]


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:MAX_SHOWN]) or "(nobody)"


def _finding(door: Door, name: str, count: int, first: int, at: int) -> Finding:
    evidence: dict[str, str | int | float] = {
        "door": door.value,
        "name": name,
        "tries": count,
        "from": rfc3339(first),
        "until": rfc3339(at),
    }
    if door is Door.DENIED:
        return Finding(
            kind=DENIED_TRIES,
            subject=name,
            noun="device",
            text=f"is to be kept out, and has asked {count} times within ten minutes",
            at=at,
            evidence=evidence,
        )
    whom = f" as {name}" if name else ""
    return Finding(
        kind=BRUTE_FORCE,
        subject=f"{door.name.lower()}:{name}",
        noun="",
        text=f"{door.value}: {count} tries{whom} were refused within ten minutes",
        at=at,
        severity=Severity.CRITICAL if name else Severity.WARNING,
        evidence=evidence,
    )
