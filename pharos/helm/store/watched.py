"""What of the record an alert may be about, read in few columns: it is looked at every minute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs

from pharos.helm.model.certificates import CertificateState
from pharos.helm.model.nodes import NodeState
from pharos.helm.model.telemetry import Metric
from pharos.helm.store.database import Database
from pharos.helm.store.devices import ALLOWED
from pharos.wire.pki.roles import Role


@attrs.frozen(kw_only=True)
class Member:
    """A node or relay that is linked, or would be if it were enabled."""

    id: str
    name: str
    role: Role
    state: NodeState

    @property
    def serves(self) -> bool:
        """Whether devices count on it; one that drains or is disabled is being worked on."""
        return self.state is NodeState.ACTIVE

    @property
    def called(self) -> str:
        """As people say it: ``node amsterdam``."""
        return f"{self.role.value} {self.name}"


@attrs.frozen(kw_only=True)
class Life:
    """From when to when a certificate is good, in microseconds since 1970."""

    begins_at: int
    ends_at: int


def watched_members(db: Database) -> list[Member]:
    """Return every node and relay that has joined and was not revoked."""
    rows = db.execute(
        "SELECT 'node' AS role, id, name, state FROM nodes"
        " UNION ALL SELECT 'relay' AS role, id, name, state FROM relays"
    )
    members = (
        Member(id=row["id"], name=row["name"], role=Role(row["role"]), state=NodeState(row["state"])) for row in rows
    )
    return [one for one in members if one.state not in (NodeState.JOINING, NodeState.REVOKED)]


def certificate_lives(db: Database) -> dict[str, Life]:
    """Return the life of the newest certificate of each node and relay, by its id."""
    rows = db.execute(
        "SELECT subject, not_before_at, not_after_at FROM certificates WHERE state = ? AND role IN (?, ?)"
        " ORDER BY not_after_at, created_at",
        (CertificateState.ACTIVE.value, Role.NODE.value, Role.RELAY.value),
    )
    return {row["subject"]: Life(begins_at=row["not_before_at"], ends_at=row["not_after_at"]) for row in rows}


def count_unsynced_devices(db: Database, before: int, *, at: int) -> int:
    """Return how many devices that may use the fleet have heard nothing from helm since ``before``.

    Exported ones never hear anything.
    """
    count: int = db.execute(
        "SELECT COUNT(*) FROM devices LEFT JOIN bundles ON bundles.device_id = devices.id"  # noqa: S608 -- constant text
        f" WHERE {ALLOWED} AND devices.exported = 0 AND COALESCE(bundles.synced_at, devices.created_at) < ?",
        (at, at, before),
    ).fetchone()[0]
    return count


def owners_of_devices(db: Database, user_ids: list[str]) -> dict[str, str]:
    """Return the user of each device, by the device's id, of these users' devices, revoked ones included."""
    if not user_ids:
        return {}
    marks = ", ".join("?" for _ in user_ids)
    rows = db.execute(f"SELECT id, user_id FROM devices WHERE user_id IN ({marks})", tuple(user_ids))  # noqa: S608
    return {row["id"]: row["user_id"] for row in rows}


# -- how much a user had used when a period began


@attrs.frozen(kw_only=True)
class Mark:
    """What a device had carried in all when a quota's period began."""

    device_id: str
    period_at: int
    """Microseconds since 1970."""
    total: int
    """Octets, both directions."""


_COLUMNS: Final = "device_id, period_at, total"


def list_marks(db: Database) -> dict[str, Mark]:
    """Return the mark of each device that has one, by its id."""
    rows: Any = db.execute(f"SELECT {_COLUMNS} FROM quota_marks")  # noqa: S608 -- constant text
    return {row["device_id"]: Mark(**dict(row)) for row in rows}


def put_marks(db: Database, marks: list[Mark]) -> None:
    """Write marks in place of those that were there."""
    db.executemany(
        f"INSERT INTO quota_marks ({_COLUMNS}) VALUES (?, ?, ?)"  # noqa: S608 -- constant text
        " ON CONFLICT (device_id) DO UPDATE SET period_at = excluded.period_at, total = excluded.total",
        [(mark.device_id, mark.period_at, mark.total) for mark in marks],
    )


# -- of telemetry.db


def traffic_totals(db: Database, device_ids: Iterable[str]) -> dict[str, int]:
    """Return the octets that devices have carried in all, both directions, by their ids."""
    return {device_id: _one_sum(db, _TOTAL, (device_id, *_METRICS)) for device_id in device_ids}


def traffic_since(db: Database, device_ids: Iterable[str], since: int) -> dict[str, int]:
    """Return the octets that devices have carried since a time, as far back as hours are kept."""
    return {device_id: _one_sum(db, _SINCE, (device_id, *_METRICS, since)) for device_id in device_ids}


_METRICS: Final = tuple(
    metric.value for metric in (Metric.RECEIVED, Metric.SENT, Metric.RECEIVED_UNSEEN, Metric.SENT_UNSEEN)
)
# One look into an index a device, 10 µs: a user has few of them, and few users a quota that only warns.
_TOTAL: Final = "SELECT COALESCE(SUM(total), 0) FROM series WHERE device_id = ? AND metric IN (?, ?, ?, ?)"
_SINCE: Final = (
    "SELECT COALESCE(SUM(hours.total), 0) FROM series JOIN hours ON hours.series = series.id"
    " WHERE series.device_id = ? AND series.metric IN (?, ?, ?, ?) AND hours.at >= ?"
)


def _one_sum(db: Database, statement: str, values: tuple[str | int, ...]) -> int:
    total: int = db.execute(statement, values).fetchone()[0]
    return total
