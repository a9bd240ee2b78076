"""Rows of telemetry.db: series, their samples with the roll-ups, and the times at which nobody looked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import attrs

from pharos.helm.model.telemetry import Metric, NodeReading
from pharos.helm.store.database import Database
from pharos.helm.telemetry.readings import GAP_AFTER, Before, Key, Step, step_to
from pharos.helm.telemetry.rollups import ROLLED, Level, Sample, roll_up
from pharos.wire.ids import DeviceId, NodeId

HELM: Final = NodeId("")
"""Stands for helm itself where rows belong to nodes: when it was awake, when it was not."""

# Beyond so many devices, all series of the node are read by one range of the index.
_SOME: Final = 50
_INSERT: Final = "INSERT INTO samples (series, at, value) VALUES (?, ?, ?) ON CONFLICT (series, at) DO NOTHING"
_MERGE: Final = {
    level: f"INSERT INTO {level.value} (series, at, low, high, total, count, last, last_at)"  # noqa: S608 -- names of levels
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (series, at) DO UPDATE SET"
    f" low = CASE WHEN excluded.low < {level.value}.low THEN excluded.low ELSE {level.value}.low END,"
    f" high = CASE WHEN excluded.high > {level.value}.high THEN excluded.high ELSE {level.value}.high END,"
    f" total = {level.value}.total + excluded.total, count = {level.value}.count + excluded.count,"
    f" last = CASE WHEN excluded.last_at >= {level.value}.last_at THEN excluded.last ELSE {level.value}.last END,"
    f" last_at = CASE WHEN excluded.last_at >= {level.value}.last_at"
    f" THEN excluded.last_at ELSE {level.value}.last_at END"
    for level in ROLLED
}


@attrs.frozen
class Gap:
    """A time at which a node, or helm itself, was not heard."""

    node_id: NodeId
    began_at: int
    ended_at: int


def add_samples(db: Database, samples: list[Sample]) -> None:
    """Write samples and roll them up, each once however often it is given."""
    cursor = db.cursor()
    fresh = [sample for sample in samples if cursor.execute(_INSERT, sample).rowcount]
    for level in ROLLED:
        cursor.executemany(
            _MERGE[level],
            [(series, at, *rollup.in_order()) for (series, at), rollup in roll_up(fresh, level).items()],
        )


def add_reading(db: Database, reading: NodeReading) -> None:
    """Write what a reading of a node adds to the one before; one that is not newer adds nothing."""
    known = _series_of(db, reading.node_id, reading.peers)
    look = _look_at(db, reading.node_id)
    told_at = 0 if look is None else look[1]
    raw = {key: raw for key, (_, raw) in known.items()}
    step = step_to(reading, None if look is None else Before(at=look[0], raw=raw, told=told_at > 0))
    if step is None:
        return
    note_look(db, reading.node_id, reading.at)
    if reading.tells_protocols != (told_at > 0):
        told_at = reading.at if reading.tells_protocols else 0
        db.execute("UPDATE readings SET told_at = ? WHERE node_id = ?", (told_at, reading.node_id))
    _add(db, reading.node_id, known, step, at=reading.at)


def add_counts(db: Database, node_id: NodeId, counts: Mapping[Key, int], *, at: int) -> None:
    """Write what counters of a node have grown by, as helm counted it."""
    _add(
        db,
        node_id,
        _series_of(db, node_id, [device_id for device_id, _ in counts if device_id]),
        Step(increments=counts, gauges={}, raw={}, gap=None),
        at=at,
    )


def note_look(db: Database, node_id: NodeId, at: int) -> None:
    """Note that a node was heard, or helm was awake, at a time; what was missed since the last one is a gap."""
    look = _look_at(db, node_id)
    last = None if look is None else look[0]
    if last is not None and at - last > GAP_AFTER:
        db.execute(
            "INSERT INTO gaps (node_id, began_at, ended_at) VALUES (?, ?, ?)"
            " ON CONFLICT (node_id, began_at) DO NOTHING",
            (node_id, last, at),
        )
    db.execute(
        "INSERT INTO readings (node_id, first_at, at) VALUES (?, ?, ?)"
        " ON CONFLICT (node_id) DO UPDATE SET at = excluded.at WHERE excluded.at > readings.at",
        (node_id, at, at),
    )


def list_gaps(db: Database, node_id: NodeId, *, since: int, until: int) -> list[Gap]:
    """Return the gaps that touch a time, one still open included, and the time before the first look."""
    seen = db.execute("SELECT first_at, at FROM readings WHERE node_id = ?", (node_id,)).fetchone()
    if seen is None:
        return [Gap(node_id, since, until)]
    rows = db.execute(
        "SELECT began_at, ended_at FROM gaps WHERE node_id = ? AND ended_at > ? AND began_at < ? ORDER BY began_at",
        (node_id, since, until),
    )
    gaps = [Gap(node_id, row["began_at"], row["ended_at"]) for row in rows]
    if since < seen["first_at"]:
        gaps.insert(0, Gap(node_id, since, min(seen["first_at"], until)))
    if until - seen["at"] > GAP_AFTER:
        gaps.append(Gap(node_id, max(seen["at"], since), until))
    return gaps


def counter_totals(db: Database, *, each_device: bool = True) -> dict[tuple[NodeId, DeviceId | None, Metric], int]:
    """Return what each counter has counted since its node was adopted, over every restart; of nodes, or of all."""
    where = "" if each_device else " WHERE device_id = ''"
    rows = db.execute(f"SELECT node_id, device_id, metric, total FROM series{where}")  # noqa: S608 -- constant text
    return {
        (NodeId(row["node_id"]), DeviceId(row["device_id"]) or None, Metric(row["metric"])): row["total"]
        for row in rows
    }


def prune_level(db: Database, level: Level, *, before: int, after: int, limit: int) -> int | None:
    """Remove rows of one level from before a time, at most ``limit``, of the series behind id ``after``.

    Returns the id to go on behind, None once there are no more series.
    """
    # A series without old rows costs a look into the index, some 5 µs; 1,000 of them are 5 ms.
    ids = [row[0] for row in db.execute("SELECT id FROM series WHERE id > ? ORDER BY id LIMIT 1000", (after,))]
    left = limit
    for series in ids:
        left -= db.execute(
            f"DELETE FROM {level.value} WHERE series = ? AND at IN"  # noqa: S608 -- names of levels
            f" (SELECT at FROM {level.value} WHERE series = ? AND at < ? ORDER BY at LIMIT ?)",
            (series, series, before, left),
        ).rowcount
        if left <= 0:
            return int(series) - 1
    return ids[-1] if ids else None


def prune_gaps(db: Database, *, before: int) -> None:
    """Remove the gaps that ended before a time."""
    db.execute("DELETE FROM gaps WHERE ended_at < ?", (before,))


def told_since(db: Database, node_id: NodeId | None) -> int | None:
    """Return since when a node, or the first of all nodes, tells protocols apart; None: it does not."""
    where, values = ("", ()) if node_id is None else (" AND node_id = ?", (node_id,))
    query = f"SELECT MIN(told_at) FROM readings WHERE told_at > 0{where}"  # noqa: S608 -- constant text
    since: int | None = db.execute(query, values).fetchone()[0]
    return since


def _look_at(db: Database, node_id: NodeId) -> tuple[int, int] | None:
    """Return when a node was heard last, and since when it tells protocols apart."""
    row = db.execute("SELECT at, told_at FROM readings WHERE node_id = ?", (node_id,)).fetchone()
    return None if row is None else (row["at"], row["told_at"])


def _series_of(db: Database, node_id: NodeId, device_ids: Collection[DeviceId]) -> dict[Key, tuple[int, int]]:
    """Return id and raw counter of each series of a node and of these of its devices, or of more."""
    query = "SELECT id, device_id, metric, raw FROM series WHERE node_id = ?"
    values: tuple[str, ...] = (node_id,)
    if len(device_ids) < _SOME:
        query += f" AND device_id IN ('', {', '.join('?' for _ in device_ids)})".replace(", )", ")")
        values += tuple(device_ids)
    rows = db.execute(query, values)
    return {(DeviceId(row[1]) or None, Metric(row[2])): (row[0], row[3]) for row in rows}


def _add(db: Database, node_id: NodeId, known: dict[Key, tuple[int, int]], step: Step, *, at: int) -> None:
    keys = step.increments.keys() | step.gauges.keys() | step.raw.keys()
    fresh = sorted(keys - known.keys(), key=lambda key: (key[0] or "", key[1].value))
    if fresh:
        first = db.execute("SELECT COALESCE(MAX(id), 0) + 1 FROM series").fetchone()[0]
        db.executemany(
            "INSERT INTO series (id, node_id, device_id, metric, raw, total) VALUES (?, ?, ?, ?, 0, 0)",
            [(first + n, node_id, device_id or "", metric.value) for n, (device_id, metric) in enumerate(fresh)],
        )
        known |= {key: (first + n, 0) for n, key in enumerate(fresh)}
    db.executemany(
        "UPDATE series SET raw = ?, total = total + ? WHERE id = ?",
        [
            (step.raw.get(key, known[key][1]), step.increments.get(key, 0), known[key][0])
            for key in step.increments.keys() | step.raw.keys()
        ],
    )
    values = {**step.gauges, **step.increments}
    add_samples(db, [Sample(known[key][0], at, value) for key, value in values.items()])
