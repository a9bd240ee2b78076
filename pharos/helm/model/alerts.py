"""Something that an operator should look at, and who is told of it."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import Final

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


RANK: Final = MappingProxyType({Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2})
"""How much each severity weighs against the others."""


@attrs.frozen(kw_only=True)
class AlertTarget:
    """Where alerts are delivered to: a destination as apprise knows it."""

    id: str
    name: str
    service: str
    """The scheme of its URL, which is all of it that is no secret: ``json``, ``mailtos``, ``slack``."""
    url: bytes = attrs.field(repr=False)
    """Wrapped by the vault, for it holds tokens and passwords."""
    minimum: Severity = Severity.WARNING
    """What is less severe it does not hear of."""
    kinds: tuple[str, ...] = ()
    """Of alerts that it hears of; empty: of every kind."""
    enabled: bool = True
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""

    def wants(self, alert: Alert) -> bool:
        """Whether it hears of this alert."""
        return (
            self.enabled and RANK[alert.severity] >= RANK[self.minimum] and (not self.kinds or alert.kind in self.kinds)
        )


ANY_KIND: Final = "all"
"""As the kind of a mute: every kind. No alert is of this kind."""


@attrs.frozen(kw_only=True)
class AlertMute:
    """For as long as it lasts, alerts of a kind and subject are raised and shown, and not delivered."""

    id: str
    kind: str
    """Or ``ANY_KIND``."""
    subject: str = ""
    """Empty: whatever the alert is about."""
    until_at: int
    """Microseconds since 1970."""
    note: str = ""
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""

    def covers(self, alert: Alert, at: int) -> bool:
        """Whether it keeps this alert from being delivered at a time, in microseconds since 1970."""
        return at < self.until_at and self.kind in (ANY_KIND, alert.kind) and self.subject in ("", alert.subject)


class News(enum.Enum):
    """What a delivery tells of its alert."""

    RAISED = "raised"
    WORSENED = "worsened"
    RESOLVED = "resolved"


class Outcome(enum.Enum):
    """What became of a delivery."""

    WAITING = ""
    SENT = "sent"
    MUTED = "muted"
    """It was over before anybody was told."""
    GIVEN_UP = "given_up"


@attrs.frozen(kw_only=True)
class Delivery:
    """One thing that one target is to be told of one alert. It is told at least once."""

    id: str
    alert_id: str
    target_id: str
    what: News
    queued_at: int
    """Microseconds since 1970, as all its times."""
    attempts: int = 0
    next_try_at: int = 0
    done_at: int | None = None
    outcome: Outcome = Outcome.WAITING
    last_error: str = ""
