"""From readings of counters to increments: what flowed between two looks at a node, restarts and absences included."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from pharos.helm.model.telemetry import Metric, NodeReading, PeerReading
from pharos.wire.convert import NodeReport
from pharos.wire.ids import DeviceId
from pharos.wire.reports import AMNEZIAWG, REALITY, PeerReport
from pharos.wire.units import SECONDS

# A chart of the last hour then has 120 points; 1,000 nodes are 33 calls a second.
READ_EVERY: Final = 30 * SECONDS
# Three looks missed (product.md: unreachable after 3 missed heartbeats).
GAP_AFTER: Final = round(3 * READ_EVERY * 1_000_000)
"""Microseconds between two looks beyond which a chart shows a hole."""
# WireGuard's Reject-After-Time: a session older than this carries nothing (wireguard.pdf §6.1).
SILENCE: Final = 180_000_000
"""Microseconds after the last handshake at which a device counts as gone."""
# 400 Gbit/s. A node that claims more lies or is broken; a sum of such increments fits 64 bits for five years.
MAX_RATE: Final = 50_000_000_000
"""Bytes per second of a node."""

Key = tuple[DeviceId | None, Metric]
"""A series of one node; None is the node as a whole."""

_Counter = tuple[Metric, Metric, Callable[[PeerReading], int]]
_COUNTERS: Final[tuple[_Counter, ...]] = (
    (Metric.RECEIVED, Metric.RECEIVED_UNSEEN, operator.attrgetter("received")),
    (Metric.SENT, Metric.SENT_UNSEEN, operator.attrgetter("sent")),
)
_OF_REALITY: Final[tuple[_Counter, ...]] = (
    (Metric.RECEIVED_REALITY, Metric.RECEIVED_REALITY_UNSEEN, operator.attrgetter("reality_received")),
    (Metric.SENT_REALITY, Metric.SENT_REALITY_UNSEEN, operator.attrgetter("reality_sent")),
)


@attrs.frozen(kw_only=True)
class Before:
    """A node as it was read the last time."""

    at: int
    raw: Mapping[Key, int]
    """Counters as they stood."""
    told: bool = False
    """Whether the node said then what came through REALITY."""


@attrs.frozen(kw_only=True)
class Step:
    """What one reading adds."""

    increments: Mapping[Key, int]
    """Of counters; a zero is left out."""
    gauges: Mapping[Key, int]
    raw: Mapping[Key, int]
    """Counters as they stand now, where they have moved."""
    gap: tuple[int, int] | None
    """From when to when helm did not look at this node."""


def reading_of(report: NodeReport, *, at: int, latency: int) -> NodeReading:
    """Return what a node's status says; ``at`` and ``latency`` in microseconds."""
    count, sessions = len(report.peers), sum(peer.last_handshake > at - SILENCE for peer in report.peers)
    if report.summary is not None:
        count, sessions = report.summary.count, min(report.summary.sessions, report.summary.count)
    return NodeReading(
        node_id=report.node_id,
        at=at,
        latency=latency,
        peers={peer.device_id: _peer_of(peer, tells=report.tells_protocols) for peer in report.peers},
        count=count,
        sessions=sessions,
        tells_protocols=report.tells_protocols,
    )


def _peer_of(peer: PeerReport, *, tells: bool) -> PeerReading:
    if not tells:
        return PeerReading(received=peer.received, sent=peer.sent, last_handshake=peer.last_handshake)
    by_reality = peer.reality_handshake >= peer.last_handshake
    return PeerReading(
        received=peer.received,
        sent=peer.sent,
        last_handshake=peer.last_handshake,
        reality_received=peer.reality_received,
        reality_sent=peer.reality_sent,
        protocol="" if not peer.last_handshake else REALITY if by_reality else AMNEZIAWG,
    )


def step_to(reading: NodeReading, before: Before | None) -> Step | None:
    """Return what ``reading`` adds to ``before``; None for one that is not newer: it counts once."""
    if before is not None and reading.at <= before.at:
        return None
    elapsed = 0 if before is None else reading.at - before.at
    gap = (before.at, reading.at) if before is not None and elapsed > GAP_AFTER else None
    seen = before is not None and gap is None
    known = {} if before is None else before.raw
    # The first look finds whatever has flowed since the node started; a day at that rate is more than any has.
    most = MAX_RATE * (86_400 if before is None else -(-elapsed // 1_000_000))

    increments: dict[Key, int] = {}
    raw: dict[Key, int] = {}
    # A counter that a node did not tell before says nothing of what flowed since then: it is noted as it stands.
    counted = before is None or before.told
    for metric, unseen, counter in (*_COUNTERS, *(_OF_REALITY if reading.tells_protocols else ())):
        noted = metric if seen else unseen
        whole, only_noted = 0, not counted and metric in _NEWER
        for device_id, peer in reading.peers.items():
            now = min(counter(peer), _LARGEST)
            was = known.get((device_id, metric), 0)
            if now != was:
                raw[device_id, metric] = now
            # Counters begin anew with their engine, which may live longer than the node's own process or shorter.
            grown = now if now < was else now - was
            if grown and not only_noted:
                increments[device_id, noted] = min(grown, most)
                whole += grown
        if whole:
            increments[None, noted] = min(whole, most)
    return Step(increments=increments, gauges=_gauges(reading), raw=raw, gap=gap)


def _gauges(reading: NodeReading) -> dict[Key, int]:
    return {
        (None, Metric.PEERS): reading.count,
        (None, Metric.SESSIONS): reading.sessions,
        (None, Metric.LATENCY): reading.latency,
    }


_LARGEST: Final = 2**63 - 1
_NEWER: Final = frozenset(metric for metric, _, _ in _OF_REALITY)
