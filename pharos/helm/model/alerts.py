"""Something that an operator should look at."""

from __future__ import annotations

import enum

import attrs


class Severity(enum.Enum):
    """How soon."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(enum.Enum):
    """What has become of it."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    """Somebody is at it."""
    RESOLVED = "resolved"


@attrs.frozen(kw_only=True)
class Alert:
    """An alert's record; one that has not been resolved stands for its kind and subject, however often it happens."""

    id: str
    kind: str
    """``node_down``, ``disk_full``, ``certificate_expiring`` …"""
    severity: Severity
    state: AlertState = AlertState.OPEN
    noun: str = ""
    """Of the record that it is about, if it is about one."""
    subject: str = ""
    """Id of that record."""
    text: str = ""
    evidence: dict[str, str | int | float] = attrs.field(factory=dict)
    opened_at: int = 0
    acknowledged_at: int | None = None
    acknowledged_by: str | None = None
    resolved_at: int | None = None
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""
