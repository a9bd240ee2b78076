"""What a node says of itself."""

from __future__ import annotations

from typing import Protocol

import pharos
from pharos.buoy.dataplane.base import DataPlane
from pharos.buoy.quota import QuotaMeter
from pharos.wire.convert import NodeReport, PeerReport
from pharos.wire.desired import Desired
from pharos.wire.ids import NodeId
from pharos.wire.keeping import Keeping


class Reported(Protocol):
    """The parts of a node that a report is made of."""

    keeping: Keeping
    awg_key: bytes
    derive_key: bytes
    started_at: int

    @property
    def desired(self) -> Desired: ...


def report_of(node: Reported, plane: DataPlane, meter: QuotaMeter, *, now: int) -> NodeReport:
    """Return a node's status. A peer that is cut for a time is in it, one that was revoked is not."""
    desired, keeping = node.desired, node.keeping
    membership = keeping.standing.membership
    counters = {entry.device_id: entry for entry in plane.counters()}
    peers = []
    for device_id, peer in desired.peers.items():
        seen = counters.get(device_id)
        peers.append(
            PeerReport(
                device_id=device_id,
                awg_key=peer.awg_key,
                last_handshake=seen.last_handshake if seen else 0,
                received=seen.received if seen else 0,
                sent=seen.sent if seen else 0,
                commitment=plane.commitment(device_id),
                generation=peer.generation,
                quota_used=meter.used(device_id),
                digest=peer.digest,
            )
        )
    return NodeReport(
        node_id=NodeId(membership.identity.id),
        version=pharos.__version__,
        applied=desired.fence,
        started_at=node.started_at,
        awg_key=node.awg_key,
        derive_key=node.derive_key,
        awg_port=plane.port,
        awg=desired.awg,
        addresses=desired.addresses,
        peers=tuple(peers),
        deny_list=keeping.deny_order,
        manifest_version=keeping.manifest_version,
        certificate=membership.fingerprint,
        now=now,
        checkpoint=keeping.checkpoint,
        policy=desired.policy,
        previous=desired.previous,
    )
