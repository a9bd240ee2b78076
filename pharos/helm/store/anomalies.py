"""What the rules on anomalies read of both databases."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pharos.helm.anomalies.facts import Sign, address_of, network_of
from pharos.helm.anomalies.habits import HABIT_DAYS, LEAST_BYTES, Upload
from pharos.helm.anomalies.rules import Denied
from pharos.helm.model.alerts import AlertState
from pharos.helm.model.devices import DeviceState
from pharos.helm.model.sessions import Session
from pharos.helm.model.telemetry import Metric
from pharos.helm.model.users import UserState
from pharos.helm.store.database import Database
from pharos.helm.store.sessions import COLUMNS, read_session
from pharos.wire.ids import DeviceId

_HOUR: Final = 3600 * 1_000_000
_DAY: Final = 24 * _HOUR

# Beside what is new, that a session is compared with; whoever flies is back in a day or two.
CONTEXT: Final = 2 * _DAY
# Some 0.7 s of reading, beside the writer; a fleet in which so many begin within a look is under attack anyway.
MOST_SESSIONS: Final = 100_000
MOST_SIGNS: Final = 50_000


def sessions_opened(db: Database, since: int, *, limit: int = MOST_SESSIONS) -> list[Session]:
    """Return the sessions of every device that opened one after a time, with those shortly before them.

    Of more than ``limit`` the newest.
    """
    rows = db.execute(
        f"SELECT {COLUMNS} FROM sessions WHERE until_at >= ?"  # noqa: S608 -- constant text
        " AND device_id IN (SELECT device_id FROM sessions WHERE opened_at >= ?) ORDER BY until_at DESC LIMIT ?",
        (since - CONTEXT, since, limit),
    )
    return [read_session(row) for row in rows]


def sessions_seen(db: Database, devices: Collection[DeviceId], since: int) -> list[Session]:
    """Return the sessions of these devices that were not over at a time."""
    rows = db.execute(f"SELECT {COLUMNS} FROM sessions WHERE until_at >= ?", (since,))  # noqa: S608 -- constant text
    return [read_session(row) for row in rows if row["device_id"] in devices]


def signs_behind(db: Database, sequence: int | None, *, limit: int = MOST_SIGNS) -> tuple[int, list[Sign]]:
    """Return the handshakes that came behind an event of this number, and the number of the newest event.

    None: the newest ``limit``.
    """
    newest = db.execute("SELECT COALESCE(MAX(sequence), 0) FROM events").fetchone()[0]
    after = max(newest - limit, 0 if sequence is None else sequence)
    rows = db.execute(
        "SELECT at, device_id, detail FROM events WHERE sequence > ? AND kind = 'handshake' AND device_id <> ''",
        (after,),
    )
    signs = []
    for row in rows:
        address = address_of(row["detail"])
        if address is not None:
            signs.append(Sign(DeviceId(row["device_id"]), row["at"], network_of(address), address))
    return newest, signs


def denied_devices(db: Database, at: int) -> dict[DeviceId, Denied]:
    """Return who is to be kept out as of ``at``, and since when at the earliest; of ``core.db``."""
    rows = db.execute(
        "SELECT devices.id AS id, devices.state AS state, devices.expires_at AS expires_at,"
        " devices.updated_at AS updated_at, users.state AS user_state, users.expires_at AS user_expires_at,"
        " users.updated_at AS user_updated_at FROM devices LEFT JOIN users ON users.id = devices.user_id"
        " WHERE devices.state <> ? OR users.state <> ? OR devices.expires_at <= ? OR users.expires_at <= ?",
        (DeviceState.ACTIVE.value, UserState.ACTIVE.value, at, at),
    )
    denied = {}
    for row in rows:
        causes = []
        if row["state"] != DeviceState.ACTIVE.value:
            causes.append(Denied(row["state"], row["updated_at"]))
        if row["user_state"] not in (None, UserState.ACTIVE.value):
            causes.append(Denied(row["user_state"], row["user_updated_at"]))
        causes += [
            Denied("expired", end)
            for end in (row["expires_at"], row["user_expires_at"])
            if end is not None and end <= at
        ]
        denied[DeviceId(row["id"])] = min(causes, key=lambda cause: cause.since)
    return denied


def uploads(db: Database, at: int, *, least: int = LEAST_BYTES) -> list[Upload]:
    """Return what each device has sent within a day that sent ``least`` bytes or more, with the days before."""
    until = at - at % _HOUR + _HOUR
    big = db.execute(
        "SELECT series.device_id AS device_id, SUM(hours.total) AS total, MAX(hours.last_at) AS last_at"
        " FROM series JOIN hours ON hours.series = series.id WHERE series.metric = ? AND series.device_id <> ''"
        " AND hours.at >= ? GROUP BY series.device_id HAVING SUM(hours.total) >= ?",
        (Metric.RECEIVED.value, until - _DAY, least),
    ).fetchall()
    found = []
    for row in big:
        days = db.execute(
            "SELECT (? - hours.at - 1) / ? AS day, SUM(hours.total) AS total"
            " FROM series JOIN hours ON hours.series = series.id"
            " WHERE series.device_id = ? AND series.metric = ? AND hours.at >= ? AND hours.at < ?"
            " GROUP BY day",
            (until, _DAY, row["device_id"], Metric.RECEIVED.value, until - (HABIT_DAYS + 1) * _DAY, until - _DAY),
        ).fetchall()
        by_day = {day["day"]: day["total"] for day in days}
        upload = Upload(
            device_id=DeviceId(row["device_id"]),
            today=row["total"],
            days=[by_day.get(day, 0) for day in range(1, max(by_day, default=0) + 1)],
            until=row["last_at"],
        )
        found.append(upload)
    return found


def resolved_since(db: Database, kind: str, subject: str, at: int) -> bool:
    """Return whether an alert of this kind and subject was resolved at a time or after it."""
    row = db.execute(
        "SELECT 1 FROM alerts WHERE subject = ? AND kind = ? AND state = ? AND resolved_at >= ?",
        (subject, kind, AlertState.RESOLVED.value, at),
    ).fetchone()
    return row is not None
