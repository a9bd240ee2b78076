"""What a fleet has behind it when a picture of it is taken: a day of charts, a month of traffic, sessions under way."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Final

from pharos.helm.live.board import now_us
from pharos.helm.model.telemetry import Metric, NodeEvent
from pharos.helm.store.database import Database
from pharos.helm.store.handshakes import add_events
from pharos.helm.store.samples import HELM, add_counts, add_samples
from pharos.helm.store.sessions import apply_events
from pharos.helm.telemetry.readings import Key
from pharos.helm.telemetry.rollups import Sample
from pharos.wire.ids import DeviceId, NodeId
from tests.support.simnode import ENDPOINT
from tests.support.webfleet.plan import Plan, PlannedDevice

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * 60 * MINUTE
FINE: Final = 30 * SECOND
"""Between two samples of a node in the last hour, as helm takes them; before that a minute, which is no gap either."""
SEED: Final = 418
REALITY_SHARE: Final = 0.3
SAMPLED: Final = (
    Metric.RECEIVED,
    Metric.SENT,
    Metric.RECEIVED_REALITY,
    Metric.SENT_REALITY,
    Metric.SESSIONS,
    Metric.LATENCY,
    Metric.HANDSHAKES,
)


def write_past(db: Database, plan: Plan, nodes: dict[str, str], devices: dict[str, DeviceId]) -> None:
    """Write it into telemetry.db; ``nodes`` and ``devices`` are ids by name."""
    chance = random.Random(SEED)
    now = now_us()
    connected: dict[str, list[PlannedDevice]] = {name: [] for name in nodes}
    for user in plan.users:
        for device in user.devices:
            if device.used_bytes:
                at_node = NodeId(nodes[device.node or next(iter(nodes))])
                got, sent = round(device.used_bytes * 0.2), round(device.used_bytes * 0.8)
                device_id = devices[device.name]
                counts: dict[Key, int] = {(device_id, Metric.RECEIVED): got, (device_id, Metric.SENT): sent}
                add_counts(db, at_node, counts, at=now - 2 * DAY)
            if device.node and device.last_seen_hours is None:
                connected[device.node].append(device)
    for name, node_id in nodes.items():
        _write_charts(db, NodeId(node_id), connected[name], chance, now)
    for name in (HELM, *nodes.values()):
        db.execute(
            "INSERT INTO readings (node_id, first_at, at, told_at) VALUES (?, ?, ?, ?) ON CONFLICT (node_id)"
            " DO UPDATE SET first_at = excluded.first_at, at = excluded.at, told_at = excluded.told_at",
            (name, now - DAY, now, 0 if name == HELM else now - DAY),
        )
    events = [
        event
        for name, found in connected.items()
        for device in found
        for event in _sessions(NodeId(nodes[name]), device, devices[device.name], chance, now)
    ]
    apply_events(db, add_events(db, events))


def _write_charts(db: Database, node_id: NodeId, here: list[PlannedDevice], chance: random.Random, now: int) -> None:
    first = db.execute("SELECT COALESCE(MAX(id), 0) + 1 FROM series").fetchone()[0]
    series = {metric: first + number for number, metric in enumerate(SAMPLED)}
    db.executemany(
        "INSERT INTO series (id, node_id, device_id, metric, raw, total) VALUES (?, ?, '', ?, 0, 0)",
        [(number, node_id, metric.value) for metric, number in series.items()],
    )
    down, up = sum(device.down for device in here), sum(device.up for device in here)
    phase = chance.uniform(-2, 2)
    samples: list[Sample] = []
    minutes = [(at, MINUTE) for at in range(now - DAY, now - HOUR, MINUTE)]
    for at, step in (*minutes, *((at, FINE) for at in range(now - HOUR - FINE, now - FINE, FINE))):
        busy = _busy(at, phase) * chance.uniform(0.92, 1.08)
        received, sent = (round(rate * busy * step / SECOND / 8) for rate in (up, down))
        values = {
            Metric.RECEIVED: received,
            Metric.SENT: sent,
            Metric.RECEIVED_REALITY: round(received * REALITY_SHARE),
            Metric.SENT_REALITY: round(sent * REALITY_SHARE),
            Metric.SESSIONS: round(len(here) * (0.4 + 0.6 * busy)),
            Metric.LATENCY: round(chance.uniform(9_000, 14_000)),
            Metric.HANDSHAKES: round(len(here) * busy * step / (2 * MINUTE)),
        }
        samples += [Sample(series[metric], at, value) for metric, value in values.items()]
    add_samples(db, samples)


def _busy(at: int, phase: float) -> float:
    """Return how much of its rate a node carries at a time of the day, 1 at its end."""
    return 0.7 + 0.3 * math.cos((at - now_us()) / DAY * 2 * math.pi + phase / 3) * math.cos(phase / 3)


def _sessions(
    node_id: NodeId, device: PlannedDevice, device_id: DeviceId, chance: random.Random, now: int
) -> Iterator[NodeEvent]:
    """Yield the signs of life of a session that began within the last hour and goes on."""
    at = now - round(chance.uniform(0, 110) * SECOND)
    for _ in range(chance.randint(1, 25)):
        yield NodeEvent(
            at=at,
            kind="handshake",
            node_id=node_id,
            device_id=device_id,
            detail=ENDPOINT,
            protocol=device.protocol,
        )
        at -= 120 * SECOND
