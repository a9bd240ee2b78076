"""The sessions table: worked out of events, by `pharos.helm.telemetry.sessions`, and read by operators."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from pharos.helm.errors import InvalidRequestError, NotFoundError
from pharos.helm.model.sessions import Session
from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.store.bulk import insert_rows, select_rows
from pharos.helm.store.database import Database
from pharos.helm.store.pages import DEFAULT_LIMIT, MAX_LIMIT
from pharos.helm.telemetry.readings import SILENCE
from pharos.helm.telemetry.sessions import LIFE, VITAL, Sign, fold, sign_of, silent_at, unbroken
from pharos.wire.ids import DeviceId, NodeId

COLUMNS: Final = "id, node_id, device_id, opened_at, seen_at, until_at, reason, endpoint, protocol"
_UPSERT: Final = (
    f"INSERT INTO sessions ({COLUMNS}, last_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 -- constant text
    " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, until_at = excluded.until_at,"
    " reason = excluded.reason, endpoint = excluded.endpoint, protocol = excluded.protocol,"
    " last_at = excluded.last_at"
)
_NEWEST: Final = (
    f"SELECT {COLUMNS}, last_at FROM sessions WHERE node_id = ? AND device_id = ?"  # noqa: S608 -- constant text
    " ORDER BY opened_at DESC LIMIT 1"
)
_PROLONG: Final = (
    "WITH new (session, seen, until, endpoint, protocol) AS (VALUES (?, ?, ?, ?, ?)) UPDATE sessions"
    " SET seen_at = new.seen, until_at = new.until, last_at = new.seen, endpoint = new.endpoint,"
    " protocol = new.protocol"
    " FROM new WHERE sessions.id = new.session"
)
# One look into an index for each pair; with IN in place of the join, SQLite reads the whole table.
_NEWEST_OF_MANY: Final = (
    f"WITH wanted (node, device) AS (VALUES (?, ?)) SELECT {COLUMNS}, last_at FROM wanted, sessions"  # noqa: S608
    " WHERE node_id = node AND device_id = device AND opened_at = (SELECT MAX(later.opened_at) FROM sessions AS later"
    " WHERE later.node_id = node AND later.device_id = device)"
)
_SIGNS_OF_MANY: Final = (
    "WITH wanted (node, device) AS (VALUES (?, ?)) SELECT node AS node_id, device AS device_id,"
    " (SELECT COUNT(*) FROM events WHERE node_id = node AND device_id = device"
    " AND kind IN ('handshake', 'connected', 'disconnected')) AS signs FROM wanted"
)

Pair = tuple[NodeId, DeviceId]


@attrs.frozen(kw_only=True)
class SessionQuery:
    """Which sessions; newest first."""

    node_id: str | None = None
    device_ids: Sequence[str] | None = None
    """Any of these; None for all."""
    live: bool | None = None
    limit: int = DEFAULT_LIMIT
    cursor: str = ""
    """As the page before gave it; empty for the first."""


@attrs.frozen(kw_only=True)
class SessionPage:
    """A part of the list."""

    items: list[Session]
    cursor: str
    """Where the next page begins; empty behind the last."""


def apply_events(db: Database, events: Iterable[NodeEvent]) -> None:
    """Bring sessions up to date with events that were just written; their order does not matter.

    Events that are later than all before them, which most are, cost no look at those.
    """
    pairs: dict[Pair, list[Sign]] = defaultdict(list)
    for event in events:
        if event.device_id is not None and event.kind in VITAL:
            pairs[event.node_id, event.device_id].append(sign_of(event))
    newest = {(row["node_id"], row["device_id"]): row for row in select_rows(db, _NEWEST_OF_MANY, list(pairs))}
    strangers = [pair for pair in pairs if pair not in newest]
    found = select_rows(db, _SIGNS_OF_MANY, strangers)
    signs_of = {(row["node_id"], row["device_id"]): row["signs"] for row in found}
    rows: list[tuple[Any, ...]] = []
    prolonged: list[tuple[Any, ...]] = []
    for pair, signs in pairs.items():
        signs.sort()
        row = newest.get(pair)
        if row is not None and _goes_on(row, signs):
            last = signs[-1].at
            endpoint = next((sign.detail for sign in reversed(signs) if sign.detail), row["endpoint"])
            protocol = next((sign.protocol for sign in reversed(signs) if sign.protocol), row["protocol"])
            prolonged.append((row["id"], last, silent_at(last), endpoint, protocol))
            continue
        if row is None and signs_of[pair] == len(signs):
            rows += [_row(session, signs[-1].at) for session in fold(*pair, signs)]
        elif row is not None and row["last_at"] < signs[0].at:
            rows += [_row(session, signs[-1].at) for session in fold(*pair, signs, read_session(row))]
        else:
            _apply(db, pair, signs)
    insert_rows(db, _UPSERT, rows)
    insert_rows(db, _PROLONG, prolonged)


def _goes_on(row: Any, signs: list[Sign]) -> bool:
    """Whether all that signs say is that a device's newest session goes on."""
    first = signs[0].at
    if row["reason"] or first > row["until_at"] or not unbroken(signs):
        return False
    if row["last_at"] != first:
        return bool(row["last_at"] < first)
    # A handshake and a connect of one moment may come in two batches.
    return row["seen_at"] == first and all(
        sign.detail in ("", row["endpoint"]) and sign.protocol in ("", row["protocol"]) for sign in signs
    )


def _apply(db: Database, pair: Pair, signs: list[Sign]) -> None:
    row = db.execute(_NEWEST, pair).fetchone()
    if row is None:
        signs = _signs_from(db, pair, 0)
        insert_rows(db, _UPSERT, [_row(session, max(signs).at) for session in fold(*pair, signs)])
    elif signs[0].at <= row["last_at"]:
        _rebuild(db, pair, signs[0].at)
    else:
        last_at = signs[-1].at
        insert_rows(db, _UPSERT, [_row(session, last_at) for session in fold(*pair, signs, read_session(row))])


def _rebuild(db: Database, pair: Pair, since: int) -> None:
    """Work out anew all sessions that something at ``since`` can have changed."""
    rows = db.execute(
        f"SELECT {COLUMNS} FROM sessions"  # noqa: S608 -- constant text
        " WHERE node_id = ? AND device_id = ? AND until_at >= ? ORDER BY opened_at",
        (*pair, since),
    ).fetchall()
    affected = [read_session(row) for row in rows]
    signs = _signs_from(db, pair, min([since, *(session.opened_at for session in affected)]))
    signs += _remembered(affected, {sign.at for sign in signs})
    db.execute("DELETE FROM sessions WHERE node_id = ? AND device_id = ? AND until_at >= ?", (*pair, since))
    last_at = max(sign.at for sign in signs)
    insert_rows(db, _UPSERT, [_row(session, last_at) for session in fold(*pair, signs)])
    # A disconnect of nobody makes no session, but whoever comes before it has to look at it.
    newest = db.execute(_NEWEST, pair).fetchone()
    if newest is not None and newest["last_at"] < last_at:
        db.execute("UPDATE sessions SET last_at = ? WHERE id = ?", (last_at, newest["id"]))


def _signs_from(db: Database, pair: Pair, start: int) -> list[Sign]:
    events = db.execute(
        "SELECT at, kind, detail, protocol FROM events"
        " WHERE node_id = ? AND device_id = ? AND at >= ? AND kind IN (?, ?, ?)",
        (*pair, start, *sorted(VITAL)),
    )
    return [Sign(row["at"], row["kind"] in LIFE, row["detail"], row["protocol"]) for row in events]


def _remembered(sessions: list[Session], known: set[int]) -> list[Sign]:
    """Return what sessions tell of events that were pruned since: that there was life without a break."""
    signs = []
    for session in sessions:
        if session.opened_at not in known:
            first = min((at for at in known if session.opened_at < at <= session.seen_at), default=session.seen_at)
            times = (*range(session.opened_at, first, SILENCE), first)
            signs += [Sign(at=at, alive=True, detail=session.endpoint, protocol=session.protocol) for at in times]
        if session.reason and session.until_at not in known:
            signs.append(Sign(at=session.until_at, alive=False, detail=session.reason))
    return signs


def search_sessions(db: Database, query: SessionQuery, *, now: int) -> SessionPage:
    """Return one page of sessions, newest first; ``now`` decides which are live.

    Raises: InvalidRequestError — the limit, or a cursor that no page gave.
    """
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidRequestError(f"a page has 1 to {MAX_LIMIT} records, not {query.limit}")
    conditions, values = _conditions(query, now)
    if query.cursor:
        conditions.append("(opened_at, id) < (?, ?)")
        values += _parse_cursor(query.cursor)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = db.execute(
        f"SELECT {COLUMNS} FROM sessions{where} ORDER BY opened_at DESC, id DESC LIMIT ?",  # noqa: S608 -- constant
        (*values, query.limit + 1),
    ).fetchall()
    items = [read_session(row) for row in rows[: query.limit]]
    cursor = _cursor(items[-1]) if len(rows) > query.limit else ""
    return SessionPage(items=items, cursor=cursor)


def count_sessions(db: Database, query: SessionQuery, *, now: int) -> int:
    """Return how many sessions the whole list has."""
    conditions, values = _conditions(query, now)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    count: int = db.execute(f"SELECT COUNT(*) FROM sessions{where}", values).fetchone()[0]  # noqa: S608 -- constant
    return count


def get_session(db: Database, session_id: str) -> Session:
    """Return one session.

    Raises: NotFoundError.
    """
    row = db.execute(f"SELECT {COLUMNS} FROM sessions WHERE id = ?", (session_id,)).fetchone()  # noqa: S608 -- constant
    if row is None:
        raise NotFoundError(f"there is no session {session_id!r}")
    return read_session(row)


def live_by_node(db: Database, *, now: int) -> dict[NodeId, int]:
    """Return how many sessions are live at each node."""
    rows = db.execute("SELECT node_id, COUNT(*) AS live FROM sessions WHERE until_at > ? GROUP BY node_id", (now,))
    return {NodeId(row["node_id"]): row["live"] for row in rows}


def devices_of_user(core: Database, user_id: str) -> list[str]:
    """Return the ids of a user's devices, whatever their state; these stand in ``core.db``."""
    return [row["id"] for row in core.execute("SELECT id FROM devices WHERE user_id = ?", (user_id,))]


def prune_sessions(db: Database, *, before: int, limit: int) -> int:
    """Remove sessions that ended before a time, at most ``limit``; return how many went."""
    gone = db.execute(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE until_at < ? ORDER BY until_at LIMIT ?)",
        (before, limit),
    )
    return int(gone.rowcount)


def _conditions(query: SessionQuery, now: int) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    if query.node_id is not None:
        conditions.append("node_id = ?")
        values.append(query.node_id)
    if query.device_ids is not None:
        # Of nobody's devices there are no sessions, and an empty list is no SQL.
        conditions.append(f"device_id IN ({', '.join('?' for _ in query.device_ids) or 'NULL'})")
        values += query.device_ids
    if query.live is not None:
        conditions.append("until_at > ?" if query.live else "until_at <= ?")
        values.append(now)
    return conditions, values


def _cursor(session: Session) -> str:
    plain = json.dumps([session.opened_at, session.id], separators=(",", ":"))
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _parse_cursor(cursor: str) -> list[Any]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        opened_at, session_id = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRequestError("the cursor is not one that this list gave out") from error
    fits = type(opened_at) is int and 0 <= opened_at < 2**63 and isinstance(session_id, str)
    if not fits or not session_id.isprintable():
        raise InvalidRequestError("the cursor is not one that this list gave out")
    return [opened_at, session_id]


def read_session(row: Any) -> Session:
    """Return the session that a row with all of its columns is."""
    return Session(**{name: row[name] for name in _NAMES})


def _row(session: Session, last_at: int) -> tuple[Any, ...]:
    return (*(getattr(session, name) for name in _NAMES), last_at)


_NAMES: Final = tuple(name.strip() for name in COLUMNS.split(","))
assert {"handshake", "connected", "disconnected"} == VITAL, "statements name them"
assert tuple(field.name for field in attrs.fields(Session)) == _NAMES, "rows are written in the order of the facts"
