"""What nodes may tell, for tests: events and readings in few words."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

from pharos.helm.model.telemetry import NodeEvent, NodeReading, PeerReading
from pharos.helm.telemetry.readings import SILENCE
from pharos.wire.ids import DeviceId, NodeId

SECOND = 1_000_000
BORN = 1_800_000_000 * SECOND
"""At the beginning of an hour."""
ONE, TWO = NodeId("one"), NodeId("two")
PHONE, LAPTOP = DeviceId("phone"), DeviceId("laptop")


def event(
    seconds: float,
    kind: str = "handshake",
    *,
    node: NodeId = ONE,
    device: DeviceId | None = PHONE,
    detail: str = "",
    protocol: str = "",
) -> NodeEvent:
    """Something that happened so many seconds after ``BORN``."""
    at = BORN + round(seconds * SECOND)
    return NodeEvent(at=at, kind=kind, node_id=node, device_id=device, detail=detail, protocol=protocol)


def reading(
    seconds: float, *, node: NodeId = ONE, latency: int = 1_500, **received: int | tuple[int, int, float]
) -> NodeReading:
    """A node's counters: by device what it received, or that, what it sent, and when the last handshake was."""
    peers = {}
    for device, value in received.items():
        got, sent, handshake = value if isinstance(value, tuple) else (value, 0, None)
        peers[DeviceId(device)] = PeerReading(
            received=got, sent=sent, last_handshake=0 if handshake is None else BORN + round(handshake * SECOND)
        )
    at = BORN + round(seconds * SECOND)
    alive = sum(peer.last_handshake > at - SILENCE for peer in peers.values())
    return NodeReading(node_id=node, at=at, latency=latency, peers=peers, count=len(peers), sessions=alive)


def told(one: NodeReading, **through_reality: tuple[int, int]) -> NodeReading:
    """The same reading of a node that tells what came through REALITY: by device what it received, and what it sent."""
    peers = {
        device: attrs.evolve(
            peer,
            **dict(zip(("reality_received", "reality_sent"), through_reality.get(device, (0, 0)), strict=True)),
            protocol="reality" if device in through_reality else "amneziawg",
        )
        for device, peer in one.peers.items()
    }
    return attrs.evolve(one, peers=peers, tells_protocols=True)


def vital_events(most: int = 12) -> st.SearchStrategy[list[NodeEvent]]:
    """Sets of events of a few devices, near enough to each other that every rule of sessions is met."""
    one = st.builds(
        event,
        st.integers(0, 20).map(lambda number: number * 45),
        st.sampled_from(["handshake", "connected", "disconnected"]),
        node=st.sampled_from([ONE, TWO]),
        device=st.sampled_from([PHONE, LAPTOP]),
        detail=st.sampled_from(["", "a", "b"]),
        protocol=st.sampled_from(["", "amneziawg", "reality"]),
    )
    return st.lists(one, max_size=most, unique_by=lambda e: (e.node_id, e.device_id, e.kind, e.at))
