"""What a test measured of a promise, for the page that shows promises beside figures.

A test says it with `record`; whoever makes the page names a file in ``PHAROS_FIGURES``, and reads it with `read`.
"""

from __future__ import annotations

import enum
import json
import os
from pathlib import Path

import attrs

VARIABLE = "PHAROS_FIGURES"


class Fault(enum.Enum):
    """A row of the table of faults (security.md §3)."""

    KILLED_HELM = "kill -9 of helm at each write point"
    POWER_CUT = "power cut"
    KILLED_BUOY = "kill -9 of a buoy"
    DISK_FULL = "disk full, EIO, read-only"
    LOCKED = "database locked by another"
    CORRUPT = "database corrupt"
    OLD_BACKUP = "restore of an old backup"
    PARTITION = "partition between helm and a node"
    BAD_NETWORK = "half-open TCP, 30 % loss, 2 s round trip, 1 B/s, reordering"
    EXHAUSTION = "out of descriptors, out of memory"
    CLOCK_JUMP = "clock jump"
    SLOW_CONSUMER = "slow consumer"
    EVENT_BURST = "event burst, 100,000 a second"
    RESTART_STORM = "restart storm"
    COLD_START = "cold start with helm dead"
    MIXED_VERSIONS = "mixed versions"
    CONTENTION = "409 under contention"


@attrs.frozen(kw_only=True)
class Figure:
    """One measured value."""

    fault: Fault
    name: str
    """What was measured, in a few words: ``acknowledged changes lost``."""
    value: float
    unit: str
    """``s``, ``ms``, ``MB``, ``of 500`` …; empty for a bare number."""
    test: str
    """Its test, as pytest names it."""


def record(fault: Fault, name: str, value: float, unit: str = "") -> None:
    """Note a figure, if somebody collects them; of tests that run side by side each line stays whole."""
    if path := os.environ.get(VARIABLE):
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]
        figure = {"fault": fault.name, "name": name, "value": value, "unit": unit, "test": test}
        with Path(path).open("a") as file:
            file.write(json.dumps(figure) + "\n")


def read(path: Path) -> list[Figure]:
    """Return what was recorded, in its order."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [Figure(**{**entry, "fault": Fault[entry["fault"]]}) for entry in entries]
