"""Samples and roll-ups of telemetry.db as charts want them: one row for each point."""

from __future__ import annotations

from typing import Any, Final

from pharos.helm.model.telemetry import Metric
from pharos.helm.store.database import Database
from pharos.helm.telemetry.charts import Slot, Window
from pharos.helm.telemetry.rollups import Level

_VALUES: Final = {
    Level.RAW: "MIN(t.value) AS low, MAX(t.value) AS high, SUM(t.value) AS total, COUNT(*) AS count",
    Level.MINUTES: "MIN(t.low) AS low, MAX(t.high) AS high, SUM(t.total) AS total, SUM(t.count) AS count",
    Level.HOURS: "MIN(t.low) AS low, MAX(t.high) AS high, SUM(t.total) AS total, SUM(t.count) AS count",
}


def read_slots(
    db: Database, metric: Metric, window: Window, *, node_id: str | None, device_id: str | None, told: bool = False
) -> dict[int, Slot]:
    """Return what was sampled at each point of a window, by its number.

    Of one node, of one device at whichever node, of one device at one node, or of all nodes together. ``told``: only of
    nodes that tell protocols apart, since they do.
    """
    scope, values = _scope(metric, node_id, device_id)
    tellers = " JOIN readings ON readings.node_id = series.node_id" if told else ""
    since_told = " AND readings.told_at > 0 AND t.at >= readings.told_at" if told else ""
    rows = db.execute(
        "SELECT slot, MIN(low) AS low, MAX(high) AS high, SUM(total) AS total,"  # noqa: S608 -- names of levels
        " SUM(1.0 * total / count) AS level, AVG(1.0 * total / count) AS mean FROM ("
        f"SELECT (t.at - ?) / ? AS slot, {_VALUES[window.level]}"
        f" FROM series JOIN {window.level.value} AS t ON t.series = series.id{tellers}"
        f" WHERE {scope} AND t.at >= ? AND t.at < ?{since_told} GROUP BY series.id, (t.at - ?) / ?"
        ") AS each_series GROUP BY slot",
        (window.since, window.step, *values, window.since, window.until, window.since, window.step),
    )
    return {row["slot"]: Slot(row["low"], row["high"], row["total"], row["level"], row["mean"]) for row in rows}


def _scope(metric: Metric, node_id: str | None, device_id: str | None) -> tuple[str, list[Any]]:
    conditions, values = ["series.metric = ?", "series.device_id = ?"], [metric.value, device_id or ""]
    if node_id is not None:
        conditions.append("series.node_id = ?")
        values.append(node_id)
    return " AND ".join(conditions), values
