"""What a node says of itself, and not twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import attrs

import pharos
from pharos.buoy.dataplane.base import PeerCounters
from pharos.buoy.quota import QuotaMeter
from pharos.buoy.reality import RealityKeys
from pharos.wire.convert import NodeReport, PeerReport
from pharos.wire.desired import Desired, peers_digest
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.keeping import Keeping
from pharos.wire.reports import EngineReport, MachineReport, PeerSummary, RealityKey, RealityReport
from pharos.wire.world import random_bytes

# WireGuard's Reject-After-Time (wireguard.pdf §6.1).
_SILENCE: Final = 180_000_000


class Reported(Protocol):
    """The parts of a node that a report is made of."""

    keeping: Keeping
    awg_key: bytes
    derive_key: bytes
    reality_keys: RealityKeys
    started_at: int

    @property
    def desired(self) -> Desired: ...


class Served(Protocol):
    """The parts of a node's data plane that a report is made of."""

    @property
    def port(self) -> int: ...
    @property
    def reality_port(self) -> int: ...
    def commitment(self, device_id: DeviceId) -> bytes: ...
    def health(self) -> tuple[EngineReport, ...]: ...


def report_of(
    node: Reported,
    plane: Served,
    counted: Iterable[PeerCounters],
    meter: QuotaMeter,
    *,
    machine: MachineReport,
    now: int,
) -> NodeReport:
    """Return a node's status. A peer that is cut for a time is in it, one that was revoked is not."""
    desired, keeping = node.desired, node.keeping
    membership = keeping.standing.membership
    counters = {entry.device_id: entry for entry in counted}
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
                reality_received=seen.reality_received if seen else 0,
                reality_sent=seen.reality_sent if seen else 0,
                reality_handshake=seen.reality_handshake if seen else 0,
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
        reality=RealityReport(parameters=desired.reality, keys=node.reality_keys.of(desired), port=plane.reality_port),
        engines=plane.health(),
        machine=machine,
        tells_protocols=True,
    )


@attrs.define
class Teller:
    """Remembers the last report, so that the next one can leave out what that said."""

    _token: bytes = b""
    _told: dict[DeviceId, PeerReport] = attrs.field(factory=dict)
    _told_keys: tuple[RealityKey, ...] = ()

    def tell(self, report: NodeReport, *, since: bytes) -> NodeReport:
        """Return the report for somebody who has the one called ``since``; whole where that is not the last one."""
        told, known = self._told, bool(since) and since == self._token
        reality, told_keys = report.reality, self._told_keys
        self._told = {peer.device_id: peer for peer in report.peers}
        self._told_keys = () if reality is None else reality.keys
        self._token = random_bytes(8)
        if not known:
            return attrs.evolve(report, token=self._token)
        return attrs.evolve(
            report,
            token=self._token,
            peers=tuple(peer for peer in report.peers if told.get(peer.device_id) != peer),
            summary=PeerSummary(
                count=len(report.peers),
                digest=peers_digest((peer.device_id, peer.digest) for peer in report.peers),
                sessions=sum(peer.last_handshake > report.now - _SILENCE for peer in report.peers),
            ),
            # A hundred octets each, and they change with a re-issue only.
            reality=attrs.evolve(reality, keys=()) if reality and reality.keys == told_keys else reality,
        )
