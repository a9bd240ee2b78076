"""Of core.db: what devices are ordered and filtered by, and what their rows show."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from pharos.helm.store.database import Database
from pharos.helm.store.views.standing import BRIEF, MOMENT, OF_ALL, OF_SOME, PROFILE, SINCE, STANDING

_LINES: Final = (
    f"WITH {BRIEF} SELECT devices.id AS id, devices.name AS name, devices.user_id AS user_id, users.name AS user,"  # noqa: S608
    " devices.address4 AS address4, devices.address6 AS address6, devices.note AS note, devices.exported AS exported,"
    " devices.expires_at AS expires_at, devices.created_at AS created_at,"
    " COALESCE(brief.held_revision, 0) AS held, brief.synced_at AS synced_at,"
    f" {STANDING} AS standing, {PROFILE} AS profile, {SINCE} AS since FROM {OF_ALL}"
    " ORDER BY LOWER(devices.name), devices.id"
)
_COLUMNS: Final = (
    "devices.id AS id, devices.version AS version, devices.name AS name, devices.state AS state,"
    " devices.user_id AS user_id, users.name AS user, devices.exported AS exported, devices.address4 AS address4,"
    " devices.address6 AS address6, devices.quota_bytes AS quota_bytes, devices.rate_limit AS rate_limit,"
    " devices.expires_at AS expires_at, devices.created_at AS created_at, devices.note AS note,"
    " brief.revision AS wanted, COALESCE(brief.held_revision, 0) AS held, brief.epoch AS epoch,"
    " brief.sealed_at AS sealed_at, brief.synced_at AS synced_at, LENGTH(brief.sealed) AS size"
)


class DeviceLine(NamedTuple):
    """What of a device any order or filter looks at."""

    id: str
    name: str
    user_id: str | None
    user: str | None
    address4: str
    address6: str
    note: str
    exported: int
    expires_at: int | None
    created_at: int
    held: int
    """Revision of the profile that it fetched last; 0 for none."""
    synced_at: int | None
    standing: str
    """A `Standing`."""
    profile: str
    """A `ProfileStand`."""
    since: int | None


def read_device_lines(db: Database, at: int) -> list[DeviceLine]:
    """Return every device as of ``at``, by name."""
    return list(map(DeviceLine._make, db.execute(_LINES, (at,))))


def read_device_rows(db: Database, device_ids: Collection[str], at: int) -> dict[str, Any]:
    """Return these devices by id: their columns, how they stand, and what there is of their bundles."""
    marks = ", ".join("?" for _ in device_ids)
    rows = db.execute(
        f"WITH {MOMENT} SELECT {_COLUMNS}, {STANDING} AS standing, {PROFILE} AS profile, {SINCE} AS since"  # noqa: S608
        f" FROM {OF_SOME} WHERE devices.id IN ({marks})",
        (at, *device_ids),
    )
    return {row["id"]: row for row in rows}


def read_names(db: Database) -> dict[str, str]:
    """Return the name of each device by its id."""
    return {row["id"]: row["name"] for row in db.execute("SELECT id, name FROM devices")}


def read_owners(db: Database, device_ids: Sequence[str] | None = None) -> list[tuple[str, str, str | None, str | None]]:
    """Return id and name of these devices, or of all, and id and name of the user whose each is."""
    where = "" if device_ids is None else f" WHERE devices.id IN ({', '.join('?' for _ in device_ids) or 'NULL'})"
    rows = db.execute(
        "SELECT devices.id, devices.name, devices.user_id, users.name FROM devices"  # noqa: S608 -- marks only
        f" LEFT JOIN users ON users.id = devices.user_id{where}",
        device_ids or (),
    )
    return [tuple(row) for row in rows]


def read_node_names(db: Database) -> dict[str, str]:
    """Return the name of each node by its id, whatever its state."""
    return {row["id"]: row["name"] for row in db.execute("SELECT id, name FROM nodes")}
