"""What a doctor says: one finding a check, or one a thing that was checked."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import attrs

from pharos.wire.units import GIB, HOURS, MIB, MINUTES


class Level(enum.Enum):
    """How a thing is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing is broken."""
    PROBLEM = "problem"


@attrs.frozen
class Finding:
    """One thing that was looked at."""

    id: str
    """Stable, for scripts: ``disk``, ``node:amsterdam``."""
    level: Level
    says: str
    """A sentence."""
    todo: str = ""
    """What to do about it; empty where there is nothing to do."""

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {"id": self.id, "level": self.level.value, "says": self.says, "todo": self.todo or None}


def ok(id_: str, says: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(id_, Level.OK, says)


def note(id_: str, says: str, todo: str = "") -> Finding:
    """Return a finding worth knowing."""
    return Finding(id_, Level.NOTE, says, todo)


def problem(id_: str, says: str, todo: str) -> Finding:
    """Return a finding that wants somebody."""
    return Finding(id_, Level.PROBLEM, says, todo)


def size_of(octets: int) -> str:
    """Return a size as people say it."""
    return f"{octets / GIB:.0f} GiB" if octets >= 10 * GIB else f"{octets / MIB:.0f} MiB"


def age_of(seconds: float) -> str:
    """Return an age as people say it, in the largest unit of which there are two."""
    for unit, name in ((24 * HOURS, "days"), (HOURS, "hours"), (MINUTES, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds // unit:.0f} {name}"
    return "a minute"


def is_healthy(findings: Iterable[Finding]) -> bool:
    """Return whether nothing wants anybody."""
    return all(finding.level is not Level.PROBLEM for finding in findings)
