"""What nodes tell of themselves while they run: events, and readings of their counters and gauges."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from pharos.wire.ids import DeviceId, NodeId


@attrs.frozen(kw_only=True)
class NodeEvent:
    """Something that happened at a node."""

    at: int
    """Microseconds since 1970, by the node's clock."""
    kind: str
    node_id: NodeId
    device_id: DeviceId | None
    detail: str
    protocol: str = ""
    """``amneziawg`` or ``reality``; empty: the node did not say."""


class Metric(enum.Enum):
    """What is sampled. Byte counts are as the node sees them: received from devices, sent to them."""

    # Each is one object; that it is hashed by its name is a call of Python's for each of a million look-ups.
    __hash__ = object.__hash__

    RECEIVED = "received"
    SENT = "sent"
    RECEIVED_UNSEEN = "received_unseen"
    """What passed while helm did not look, noted when it looked again: it counts, but nobody knows when it was."""
    SENT_UNSEEN = "sent_unseen"
    RECEIVED_REALITY = "received_reality"
    """What of ``RECEIVED`` came through REALITY, of nodes that tell; likewise the next three."""
    SENT_REALITY = "sent_reality"
    RECEIVED_REALITY_UNSEEN = "received_reality_unseen"
    SENT_REALITY_UNSEEN = "sent_reality_unseen"
    HANDSHAKES = "handshakes"
    PEERS = "peers"
    """Devices that the node would let in."""
    SESSIONS = "sessions"
    """Devices with a handshake within WireGuard's 180 s."""
    LATENCY = "latency"
    """Microseconds that the node took to answer helm."""


@attrs.frozen(kw_only=True)
class PeerReading:
    """One device's counters at one node, as they stood."""

    received: int
    sent: int
    last_handshake: int
    """Microseconds since 1970 by the node's clock, 0 for never."""
    reality_received: int = 0
    """What of ``received`` came through REALITY; likewise the next one."""
    reality_sent: int = 0
    protocol: str = ""
    """By which the last handshake was; empty: the node did not say, or there was none."""


@attrs.frozen(kw_only=True)
class NodeReading:
    """A node as helm read it at one moment."""

    node_id: NodeId
    at: int
    """Microseconds since 1970, by helm's clock."""
    latency: int
    """Microseconds."""
    peers: Mapping[DeviceId, PeerReading]
    """Those of which there is something new; whoever is not in it is as it was."""
    count: int
    """Of all peers."""
    sessions: int
    """Peers with a handshake within WireGuard's 180 s."""
    tells_protocols: bool = False
    """Whether the node says what came through REALITY."""
