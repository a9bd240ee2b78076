"""Of telemetry.db: who is there, who was there last, what flows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import attrs

from pharos.helm.model.telemetry import Metric
from pharos.helm.store.bulk import select_rows
from pharos.helm.store.database import Database
from pharos.helm.telemetry.readings import GAP_AFTER, READ_EVERY

_RATES: Final = (
    "WITH wanted (device) AS (VALUES (?)) SELECT series.node_id AS node_id, series.device_id AS device_id,"
    " series.metric AS metric, samples.value AS value FROM wanted JOIN series ON series.device_id = wanted.device"
    " JOIN readings ON readings.node_id = series.node_id"
    " JOIN samples ON samples.series = series.id AND samples.at = readings.at"
)
# A session that lives is the newest of its device at its node.
_SIGHTINGS: Final = (
    "WITH wanted (device) AS (VALUES (?)) SELECT shaken.device_id AS device_id, shaken.node_id AS node_id,"
    " shaken.at AS at, newest.seen_at AS seen_at, newest.until_at AS until_at, newest.endpoint AS endpoint,"
    " newest.protocol AS protocol"
    " FROM wanted JOIN handshakes AS shaken ON shaken.device_id = wanted.device"
    " LEFT JOIN sessions AS newest ON newest.node_id = shaken.node_id AND newest.device_id = shaken.device_id"
    " AND newest.opened_at = (SELECT MAX(later.opened_at) FROM sessions AS later"
    " WHERE later.node_id = shaken.node_id AND later.device_id = shaken.device_id)"
)
_TRAFFIC: Final = tuple(
    metric.value for metric in (Metric.RECEIVED, Metric.SENT, Metric.RECEIVED_UNSEEN, Metric.SENT_UNSEEN)
)
_TRAFFIC_OF_SOME: Final = (
    "WITH wanted (device) AS (VALUES (?)) SELECT device_id, metric, total FROM wanted, series WHERE device_id = device"
)


@attrs.frozen
class Live:
    """Where a device is, and by which protocol; None where the node does not say."""

    node_id: str
    protocol: str | None


@attrs.frozen(kw_only=True)
class Sighting:
    """How a device was seen."""

    node_id: str = ""
    """Where it shook hands last."""
    handshake_at: int = 0
    """Microseconds since 1970."""
    endpoint: str = ""
    """Its outer address and port, as seen last; empty where no node told it."""
    live: Live | None = None
    live_at: int = 0
    """When it was heard of last there."""


@attrs.frozen
class Rate:
    """Bits per second, as the device sees them."""

    down: int
    up: int


def live_devices(db: Database, *, now: int) -> dict[str, Live]:
    """Return for each device with a live session the one that was heard of last, by the device's id."""
    found = {}
    for row in db.execute(
        "SELECT node_id, device_id, protocol FROM sessions WHERE until_at > ? ORDER BY seen_at", (now,)
    ):
        found[row["device_id"]] = Live(row["node_id"], row["protocol"] or None)
    return found


def last_handshakes(db: Database) -> dict[str, tuple[str, int]]:
    """Return for each device the node and time (microseconds since 1970) of its newest handshake anywhere."""
    newest: dict[str, tuple[str, int]] = {}
    for device_id, node_id, at in db.execute("SELECT device_id, node_id, at FROM handshakes").fetchall():
        if device_id not in newest or newest[device_id][1] < at:
            newest[device_id] = (node_id, at)
    return newest


def sightings_of(db: Database, device_ids: Iterable[str], *, now: int) -> dict[str, Sighting]:
    """Return how some devices were seen, those that ever were."""
    found: dict[str, Sighting] = {}
    seen: dict[str, int] = {}
    for row in select_rows(db, _SIGHTINGS, [(device_id,) for device_id in device_ids]):
        device_id, seen_at = row["device_id"], row["seen_at"] or 0
        before = found.get(device_id, Sighting())
        changes: dict[str, Any] = {}
        if row["at"] > before.handshake_at:
            changes |= {"node_id": row["node_id"], "handshake_at": row["at"]}
        if seen_at > seen.get(device_id, 0):
            seen[device_id] = seen_at
            changes |= {"endpoint": row["endpoint"]}
        if seen_at and row["until_at"] > now and seen_at > before.live_at:
            changes |= {"live": Live(row["node_id"], row["protocol"] or None), "live_at": seen_at}
        found[device_id] = attrs.evolve(before, **changes)
    return found


def rates_of(db: Database, pairs: Collection[tuple[str, str]], *, now: int) -> dict[tuple[str, str], Rate]:
    """Return what flows now between nodes and devices (ids); of a node that was not read lately nothing is known."""
    heard = {row[0] for row in db.execute("SELECT node_id FROM readings WHERE at > ?", (now - GAP_AFTER,))}
    octets = {(pair, metric): 0 for pair in pairs if pair[0] in heard for metric in (Metric.SENT, Metric.RECEIVED)}
    for row in select_rows(db, _RATES, [(device_id,) for device_id in sorted({device for _, device in pairs})]):
        key = ((row["node_id"], row["device_id"]), Metric(row["metric"]))
        if key in octets:
            octets[key] = row["value"]
    per_second = 8 / READ_EVERY
    return {
        pair: Rate(
            down=round(octets[pair, Metric.SENT] * per_second), up=round(octets[pair, Metric.RECEIVED] * per_second)
        )
        for pair in pairs
        if (pair, Metric.SENT) in octets
    }


def traffic_of_all(db: Database) -> dict[str, int]:
    """Return the octets that each device has carried in all, both directions."""
    rows = db.execute(
        "SELECT device_id, SUM(total) AS octets FROM series WHERE device_id <> '' AND metric IN (?, ?, ?, ?)"
        " GROUP BY device_id",
        _TRAFFIC,
    )
    return {row["device_id"]: row["octets"] for row in rows}


def traffic_of_some(db: Database, device_ids: Iterable[str]) -> dict[str, int]:
    """Return the same of these devices; one that has carried nothing may be missing."""
    found = select_rows(db, _TRAFFIC_OF_SOME, [(device_id,) for device_id in device_ids])
    sums: dict[str, int] = {}
    for row in found:
        if row["metric"] in _TRAFFIC:
            sums[row["device_id"]] = sums.get(row["device_id"], 0) + row["total"]
    return sums
