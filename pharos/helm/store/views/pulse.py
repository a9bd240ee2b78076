"""What is counted for open pages every second, and what nodes' newest readings say; most of it by SQL alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import attrs

from pharos.helm.model.admins import AdminState
from pharos.helm.model.adoptions import AdoptionState
from pharos.helm.model.alerts import AlertState
from pharos.helm.model.telemetry import Metric
from pharos.helm.store.bulk import select_rows
from pharos.helm.store.database import Database
from pharos.helm.store.views.standing import BRIEF, OF_ALL, PROFILE, STANDING, ProfileStand, Standing
from pharos.helm.telemetry.readings import GAP_AFTER
from pharos.wire.ids import NodeId

_STANDINGS: Final = (
    f"WITH {BRIEF} SELECT standing, profile, COUNT(*) AS devices FROM"  # noqa: S608 -- constant text
    f" (SELECT {STANDING} AS standing, {PROFILE} AS profile FROM {OF_ALL}) AS lines GROUP BY standing, profile"
)
# Those that cannot be online, and those that are stale unless they are: few of many.
_MARKED: Final = (
    f"WITH {BRIEF} SELECT id, profile FROM"  # noqa: S608 -- constant text
    f" (SELECT devices.id AS id, {STANDING} AS standing, {PROFILE} AS profile FROM {OF_ALL}) AS lines"
    f" WHERE standing <> '{Standing.ACTIVE.value}' OR profile = '{ProfileStand.STALE.value}'"
)
_OTHERS: Final = {
    "users": ("SELECT COUNT(*) FROM users", ()),
    "groups": ("SELECT COUNT(*) FROM groups", ()),
    "alerts": ("SELECT COUNT(*) FROM alerts WHERE state = ?", (AlertState.OPEN.value,)),
    "adoptions": ("SELECT COUNT(*) FROM adoptions WHERE state = ?", (AdoptionState.WAITING.value,)),
    "admins": ("SELECT COUNT(*) FROM admins WHERE state = ?", (AdminState.ACTIVE.value,)),
}
_OPEN_TICKETS: Final = "SELECT COUNT(*) FROM tickets WHERE used_at IS NULL AND withdrawn_at IS NULL AND expires_at > ?"
_FLOWS: Final = (
    "WITH wanted (node, since) AS (VALUES (?, ?)) SELECT node_id, metric, samples.at AS at, samples.value AS value"
    " FROM wanted JOIN series ON series.node_id = wanted.node AND series.device_id = ''"
    " JOIN samples ON samples.series = series.id AND samples.at > wanted.since"
)
_HANDSHAKES: Final = (
    "SELECT COALESCE(SUM(samples.value), 0) FROM series JOIN samples ON samples.series = series.id"
    " WHERE series.device_id = '' AND series.metric = ? AND samples.at > ?"
)
_MINUTE: Final = 60_000_000


@attrs.frozen(kw_only=True)
class Tallies:
    """What core.db counts."""

    devices: int = 0
    disabled: int = 0
    """By themselves or with their user."""
    revoked: int = 0
    profiles: Mapping[str, int] = attrs.field(factory=dict)
    """By state."""
    kept_out: frozenset[str] = frozenset()
    """Ids of devices that may not use the fleet, or that the record does not know."""
    stale: frozenset[str] = frozenset()
    """Ids of devices whose profile is."""
    others: Mapping[str, int] = attrs.field(factory=dict)
    """By the plural of the noun."""
    nodes: frozenset[NodeId] = frozenset()


@attrs.frozen(kw_only=True)
class Flow:
    """One reading of a node; rates in bits per second as devices see them, None where nobody knows."""

    at: int
    """Microseconds since 1970."""
    latency: int
    """Microseconds."""
    down: int | None
    up: int | None
    reality_down: int | None
    """What of ``down`` came through REALITY."""


@attrs.frozen(kw_only=True)
class Reading:
    """What telemetry.db says."""

    live: tuple[tuple[NodeId, str], ...] = ()
    """Node and device of each session that lives."""
    handshakes: int = 0
    """In the last minute."""
    flows: Mapping[NodeId, list[Flow]] = attrs.field(factory=dict)
    """Readings of nodes that came since they were asked for, oldest first."""


def read_tallies(db: Database, at: int) -> Tallies:
    """Count what the record has as of ``at``."""
    standings: dict[str, int] = defaultdict(int)
    profiles = {state.value: 0 for state in (ProfileStand.SYNCED, ProfileStand.SENDING, ProfileStand.STALE)}
    for row in db.execute(_STANDINGS, (at,)):
        standings[row["standing"]] += row["devices"]
        if row["profile"] in profiles:
            profiles[row["profile"]] += row["devices"]
    marked = db.execute(_MARKED, (at,)).fetchall()
    stale = frozenset(row["id"] for row in marked if row["profile"] == ProfileStand.STALE.value)
    strangers = db.execute("SELECT device_id FROM adoptions WHERE state = ?", (AdoptionState.WAITING.value,))
    return Tallies(
        devices=sum(standings.values()),
        disabled=standings[Standing.DISABLED.value],
        revoked=standings[Standing.REVOKED.value],
        profiles=profiles,
        kept_out=frozenset(row["id"] for row in marked if row["id"] not in stale) | {row[0] for row in strangers},
        stale=stale,
        others={name: db.execute(statement, values).fetchone()[0] for name, (statement, values) in _OTHERS.items()}
        | {"tickets": db.execute(_OPEN_TICKETS, (at,)).fetchone()[0]},
        nodes=frozenset(NodeId(row["id"]) for row in db.execute("SELECT id FROM nodes")),
    )


def read_pulse(db: Database, newest: Mapping[NodeId, int], *, now: int, since: int) -> Reading:
    """Return who is there, and the readings of nodes behind those that are known.

    ``newest`` is the time of the newest that is known of each node; of another node all are read from ``since`` on.
    """
    live = db.execute("SELECT node_id, device_id FROM sessions WHERE until_at > ?", (now,)).fetchall()
    read = db.execute("SELECT node_id, at, told_at FROM readings WHERE node_id <> '' AND at > ?", (since,)).fetchall()
    fresh = {row["node_id"]: row["told_at"] for row in read if row["at"] > newest.get(row["node_id"], 0)}
    values: dict[NodeId, dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for row in select_rows(db, _FLOWS, [(node_id, newest.get(node_id, since)) for node_id in fresh]):
        values[row["node_id"]][row["at"]][row["metric"]] = row["value"]
    return Reading(
        live=tuple(map(tuple, live)),
        handshakes=db.execute(_HANDSHAKES, (Metric.HANDSHAKES.value, now - _MINUTE)).fetchone()[0],
        flows={
            node_id: _flows(by_time, before=newest.get(node_id), told_at=fresh[node_id])
            for node_id, by_time in values.items()
        },
    )


def _flows(by_time: Mapping[int, Mapping[str, int]], *, before: int | None, told_at: int) -> list[Flow]:
    flows = []
    for at, values in sorted(by_time.items()):
        # Handshakes are written at times of their own; each reading has its latency.
        if Metric.LATENCY.value not in values:
            continue
        seen = before is not None and at - before <= GAP_AFTER
        per_second = 8_000_000 / (at - before) if before is not None and seen else None
        told = 0 < told_at < at
        flows.append(
            Flow(
                at=at,
                latency=values[Metric.LATENCY.value],
                down=_rate(values, Metric.SENT, per_second),
                up=_rate(values, Metric.RECEIVED, per_second),
                reality_down=_rate(values, Metric.SENT_REALITY, per_second) if told else None,
            )
        )
        before = at
    return flows


def _rate(values: Mapping[str, int], metric: Metric, per_second: float | None) -> int | None:
    # A counter that did not grow has no sample.
    return None if per_second is None else round(values.get(metric.value, 0) * per_second)
