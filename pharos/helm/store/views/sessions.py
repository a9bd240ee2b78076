"""Of telemetry.db: sessions as a long list; they may be a million, so the list is cut and its counts are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

import attrs

from pharos.helm.errors import InvalidRequestError
from pharos.helm.model.sessions import Session
from pharos.helm.model.telemetry import Metric
from pharos.helm.store.database import Database
from pharos.helm.store.sessions import COLUMNS, read_session
from pharos.helm.telemetry.retention import Retention
from pharos.helm.telemetry.rollups import HOUR, Level

# What a person scrolls through; more are found by saying more.
MOST_IDS: Final = 10_000
# SQLite takes 32,766 values in a statement (sqlite.org/limits.html).
_MOST_DEVICES: Final = 30_000
_NO_PROTOCOL: Final = "none"
_OCTETS: Final = (Metric.RECEIVED, Metric.SENT, Metric.RECEIVED_UNSEEN, Metric.SENT_UNSEEN)
# Some 3,000 rows of a session each, at most.
_LONGEST: Final = {Level.RAW: 12 * HOUR, Level.MINUTES: 48 * HOUR}


@attrs.frozen(kw_only=True)
class Wanted:
    """Which sessions. Of each kind of ids any will do; None is all of them."""

    now: int
    """Microseconds since 1970: decides which are live."""
    nodes: Collection[str] | None = None
    devices: Collection[str] | None = None
    live: bool | None = None
    protocols: Collection[str] | None = None
    part: str = ""
    """Of the endpoint; or a session is one of the next two."""
    part_nodes: Collection[str] = ()
    part_devices: Collection[str] = ()


class SessionLine(NamedTuple):
    """What of a session any order looks at."""

    id: str
    node_id: str
    device_id: str
    opened_at: int
    seen_at: int


def list_lines(db: Database, wanted: Wanted, *, by_end: bool, descending: bool) -> list[SessionLine]:
    """Return sessions by when they began, or by when they end, at most `MOST_IDS`."""
    where, values = _where(wanted)
    column, direction = "until_at" if by_end else "opened_at", "DESC" if descending else "ASC"
    rows = db.execute(
        f"SELECT id, node_id, device_id, opened_at, seen_at FROM sessions{where}"  # noqa: S608 -- constant text
        f" ORDER BY {column} {direction}, id {direction} LIMIT ?",
        (*values, MOST_IDS),
    )
    return list(map(SessionLine._make, rows))


def count_lines(db: Database, wanted: Wanted) -> tuple[Counter[str], Counter[str]]:
    """Return how many sessions are live, as ``true`` and ``false``, and how many came by each protocol."""
    where, values = _where(wanted)
    live: Counter[str] = Counter()
    protocols: Counter[str] = Counter()
    for row in db.execute(
        "SELECT live, protocol, COUNT(*) AS sessions FROM"  # noqa: S608 -- constant text
        " (SELECT CASE WHEN until_at > ? THEN 'true' ELSE 'false' END AS live, protocol"
        f" FROM sessions{where}) AS lines GROUP BY live, protocol",
        (wanted.now, *values),
    ):
        live[row["live"]] += row["sessions"]
        protocols[row["protocol"] or _NO_PROTOCOL] += row["sessions"]
    return live, protocols


def read_sessions(db: Database, session_ids: Sequence[str]) -> dict[str, Session]:
    """Return these sessions by id."""
    marks = ", ".join("?" for _ in session_ids)
    rows = db.execute(f"SELECT {COLUMNS} FROM sessions WHERE id IN ({marks})", session_ids)  # noqa: S608 -- marks
    return {row["id"]: read_session(row) for row in rows}


def devices_in(db: Database, session_ids: Sequence[str]) -> list[str]:
    """Return the ids of the devices of these sessions."""
    marks = ", ".join("?" for _ in session_ids)
    rows = db.execute(f"SELECT DISTINCT device_id FROM sessions WHERE id IN ({marks})", session_ids)  # noqa: S608
    return [row["device_id"] for row in rows]


def octets_of(db: Database, sessions: Iterable[Session], retention: Retention, *, now: int) -> dict[str, int]:
    """Return what sessions carried, both directions, by id: about that, for what is kept of old ones is coarse."""
    found = {}
    for session in sessions:
        level = _level_for(session, retention, now)
        column = "value" if level is Level.RAW else "total"
        found[session.id] = db.execute(
            f"SELECT COALESCE(SUM(t.{column}), 0) FROM series JOIN {level.value} AS t ON t.series = series.id"  # noqa: S608
            " WHERE series.node_id = ? AND series.device_id = ? AND series.metric IN (?, ?, ?, ?)"
            " AND t.at >= ? AND t.at <= ?",
            (
                *(session.node_id, session.device_id),
                *(metric.value for metric in _OCTETS),
                session.opened_at - level.width,
                min(session.until_at, now),
            ),
        ).fetchone()[0]
    return found


def _level_for(session: Session, retention: Retention, now: int) -> Level:
    long = min(session.until_at, now) - session.opened_at
    for level, most in _LONGEST.items():
        if long <= most and session.opened_at >= now - retention.levels[level]:
            return level
    return Level.HOURS


def _where(wanted: Wanted) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    for column, ids in (
        ("node_id", wanted.nodes),
        ("device_id", wanted.devices),
        ("protocol", wanted.protocols),
    ):
        if ids is not None:
            conditions.append(_is_in(column, ids))
            values += ["" if column == "protocol" and one == _NO_PROTOCOL else one for one in ids]
    if wanted.live is not None:
        conditions.append("until_at > ?" if wanted.live else "until_at <= ?")
        values.append(wanted.now)
    if wanted.part:
        either = [_is_in("node_id", wanted.part_nodes), _is_in("device_id", wanted.part_devices)]
        conditions.append(f"(LOWER(endpoint) LIKE ? ESCAPE '!' OR {' OR '.join(either)})")
        values += [f"%{literal(wanted.part.lower())}%", *wanted.part_nodes, *wanted.part_devices]
    if len(values) > _MOST_DEVICES:
        raise InvalidRequestError(f"that fits more than {_MOST_DEVICES:,} devices; say more of what is wanted")
    return f" WHERE {' AND '.join(conditions)}" if conditions else "", values


def _is_in(column: str, values: Collection[str]) -> str:
    # Of nobody's there are none, and an empty list is no SQL.
    return f"{column} IN ({', '.join('?' for _ in values) or 'NULL'})"


def literal(text: str) -> str:
    """Take from LIKE the meaning of its own signs; the condition says ESCAPE '!'."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
