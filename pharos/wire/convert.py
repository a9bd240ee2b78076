"""Between protobuf messages and our own facts: strictly inward, once, so that nothing else knows a ``_pb2``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.desired import Desired, Fence, Peer, Policy, PreviousEndpoint, Push, QuotaLease
from pharos.wire.errors import ParameterError, RemoteProtocolError
from pharos.wire.eventmessages import MAX_TEXT, MAX_TIME, check_text, check_time, event_from, event_to
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId, NodeId, check_label
from pharos.wire.reality.params import RealityParameters
from pharos.wire.reports import (
    MAX_ENGINES,
    EngineReport,
    EventKind,
    MachineReport,
    NodeReport,
    PeerReport,
    PeerSummary,
    RealityKey,
    RealityReport,
    TunnelEvent,
)

__all__ = [
    "INVENTORY_PART",
    "MAX_TEXT",
    "MAX_TIME",
    "EventKind",
    "NodeReport",
    "PeerReport",
    "TunnelEvent",
    "deny_order_to",
    "event_from",
    "event_to",
    "fence_from",
    "fence_to",
    "inventory_to",
    "parameters_from",
    "parameters_to",
    "peer_from",
    "peer_to",
    "policy_from",
    "policy_to",
    "push_from",
    "push_to",
    "reality_from",
    "reality_to",
    "report_from",
    "report_to",
]

# A peer with the most addresses takes 1,000 octets.
INVENTORY_PART: Final = 1_000


def fence_from(message: pb.Fence) -> Fence:
    """Read a fence."""
    return Fence(message.epoch, message.term, message.revision)


def fence_to(fence: Fence) -> pb.Fence:
    """Write a fence."""
    return pb.Fence(epoch=fence.epoch, term=fence.term, revision=fence.revision)


def parameters_from(message: pb.AwgParameters) -> ObfuscationParameters:
    """Read obfuscation parameters.

    Raises: RemoteProtocolError — one breaks a rule.
    """
    try:
        return ObfuscationParameters.from_mapping({field.name: value for field, value in message.ListFields()})
    except ParameterError as error:
        raise RemoteProtocolError(f"AmneziaWG parameters: {error}") from error


def parameters_to(parameters: ObfuscationParameters) -> pb.AwgParameters:
    """Write obfuscation parameters."""
    return pb.AwgParameters(**parameters.as_mapping())


def reality_from(message: pb.RealityParameters) -> RealityParameters:
    """Read REALITY's parameters.

    Raises: RemoteProtocolError — one breaks a rule.
    """
    try:
        return RealityParameters(
            target=message.target,
            server_names=tuple(message.server_names),
            short_ids=tuple(message.short_ids),
            generation=message.generation,
        )
    except ParameterError as error:
        raise RemoteProtocolError(f"REALITY parameters: {error}") from error


def reality_to(parameters: RealityParameters) -> pb.RealityParameters:
    """Write REALITY's parameters."""
    return pb.RealityParameters(**parameters.as_mapping())


def push_from(message: pb.PushRequest) -> Push:
    """Read a push, every value checked.

    Raises: RemoteProtocolError — a value does not fit; the message names it.
    """
    try:
        return Push(
            fence=fence_from(message.fence),
            snapshot=message.snapshot,
            upsert=tuple(peer_from(peer) for peer in message.upsert),
            remove=tuple(DeviceId(check_label(device_id)) for device_id in message.remove),
            awg=parameters_from(message.awg) if message.HasField("awg") else None,
            addresses=tuple(message.addresses),
            policy=policy_from(message.policy) if message.HasField("policy") else None,
            previous=_previous_from(message.previous.endpoints) if message.HasField("previous") else None,
            deny_list=message.deny_list,
            manifest=message.manifest,
            checkpoint=message.checkpoint,
            reality=reality_from(message.reality) if message.HasField("reality") else None,
        )
    except ValueError as error:
        raise RemoteProtocolError(f"push: {error}") from error


def push_to(push: Push) -> pb.PushRequest:
    """Write a push."""
    return pb.PushRequest(
        fence=fence_to(push.fence),
        snapshot=push.snapshot,
        upsert=[peer_to(peer) for peer in push.upsert],
        remove=list(push.remove),
        awg=None if push.awg is None else parameters_to(push.awg),
        addresses=list(push.addresses),
        policy=None if push.policy is None else policy_to(push.policy),
        previous=None if push.previous is None else pb.Endpoints(endpoints=map(_previous_to, push.previous)),
        deny_list=push.deny_list,
        manifest=push.manifest,
        checkpoint=push.checkpoint,
        reality=None if push.reality is None else reality_to(push.reality),
    )


def policy_from(message: pb.Policy) -> Policy:
    """Read a network policy.

    Raises: ValueError — a value does not fit.
    """
    return Policy(
        peer_to_peer=message.peer_to_peer,
        internet=message.internet,
        closed=tuple(message.closed),
        resolvers=tuple(message.resolvers),
    )


def policy_to(policy: Policy) -> pb.Policy:
    """Write a network policy."""
    return pb.Policy(**policy.as_json())


def _previous_from(messages: Iterable[pb.Endpoint]) -> tuple[PreviousEndpoint, ...]:
    return tuple(
        PreviousEndpoint(
            port=message.port,
            awg=parameters_from(message.awg) if message.HasField("awg") else None,
            reality=reality_from(message.reality) if message.HasField("reality") else None,
            until=message.until_us,
        )
        for message in messages
    )


def _previous_to(endpoint: PreviousEndpoint) -> pb.Endpoint:
    return pb.Endpoint(
        port=endpoint.port,
        awg=None if endpoint.awg is None else parameters_to(endpoint.awg),
        reality=None if endpoint.reality is None else reality_to(endpoint.reality),
        until_us=endpoint.until,
    )


def peer_from(message: pb.Peer) -> Peer:
    """Read a peer.

    Raises: ValueError — a value does not fit.
    """
    quota = None
    if message.HasField("quota_bytes"):
        quota = QuotaLease(id=message.quota_lease, octets=message.quota_bytes, throttle=message.quota_throttle_bps)
    return Peer(
        device_id=DeviceId(message.device_id),
        awg_key=message.awg_public_key,
        derive_key=message.derive_public_key,
        generation=message.generation,
        addresses=tuple(message.addresses),
        expires_at=message.expires_at_us,
        quota=quota,
        rate_limit=message.rate_limit_bps,
        protocols=tuple(message.protocols),
    )


def peer_to(peer: Peer) -> pb.Peer:
    """Write a peer."""
    return pb.Peer(
        device_id=peer.device_id,
        awg_public_key=peer.awg_key,
        derive_public_key=peer.derive_key,
        generation=peer.generation,
        addresses=list(peer.addresses),
        expires_at_us=peer.expires_at,
        quota_bytes=None if peer.quota is None else peer.quota.octets,
        quota_lease=0 if peer.quota is None else peer.quota.id,
        rate_limit_bps=peer.rate_limit,
        protocols=list(peer.protocols),
        quota_throttle_bps=0 if peer.quota is None else peer.quota.throttle,
    )


def report_from(message: pb.StatusReply) -> NodeReport:
    """Read a node's status.

    Raises: RemoteProtocolError — a value does not fit.
    """
    try:
        return NodeReport(
            node_id=NodeId(check_label(message.node_id)),
            version=check_text(message.version),
            applied=fence_from(message.applied),
            started_at=check_time(message.started_at_us),
            awg_key=message.awg_public_key,
            derive_key=message.derive_public_key,
            awg_port=message.awg_port,
            awg=parameters_from(message.awg) if message.HasField("awg") else None,
            addresses=tuple(message.addresses),
            peers=tuple(
                PeerReport(
                    device_id=DeviceId(check_label(peer.device_id)),
                    awg_key=peer.awg_public_key,
                    last_handshake=check_time(peer.last_handshake_us),
                    received=peer.received_bytes,
                    sent=peer.sent_bytes,
                    commitment=peer.commitment,
                    generation=peer.generation,
                    quota_used=peer.quota_used_bytes,
                    digest=peer.digest,
                    reality_received=peer.reality_received_bytes,
                    reality_sent=peer.reality_sent_bytes,
                    reality_handshake=check_time(peer.reality_handshake_us),
                )
                for peer in message.peers
            ),
            deny_list=(message.deny_list.epoch, message.deny_list.version),
            manifest_version=message.manifest_version,
            certificate=message.certificate_fingerprint,
            now=check_time(message.now_us),
            checkpoint=message.checkpoint,
            policy=policy_from(message.policy) if message.HasField("policy") else None,
            previous=_previous_from(message.previous),
            token=message.token,
            summary=_summary_from(message.summary) if message.HasField("summary") else None,
            reality=_reality_status_from(message.reality) if message.HasField("reality") else None,
            engines=tuple(_engine_from(engine) for engine in message.engines[:MAX_ENGINES]),
            machine=_machine_from(message.machine) if message.HasField("machine") else None,
            throttles=message.throttles,
            tells_protocols=message.tells_protocols,
        )
    except ValueError as error:
        raise RemoteProtocolError(f"status: {error}") from error


def _engine_from(message: pb.Engine) -> EngineReport:
    return EngineReport(
        protocol=check_label(message.protocol), driver=check_label(message.driver), trouble=check_text(message.trouble)
    )


def _machine_from(message: pb.Machine) -> MachineReport:
    return MachineReport(
        load=message.load_milli / 1000,
        load5=message.load5_milli / 1000,
        processors=message.processors,
        memory=message.memory_bytes,
        memory_available=message.memory_available_bytes,
        disk=message.disk_bytes,
        disk_free=message.disk_free_bytes,
    )


def _machine_to(machine: MachineReport) -> pb.Machine:
    return pb.Machine(
        load_milli=round(machine.load * 1000),
        load5_milli=round(machine.load5 * 1000),
        processors=machine.processors,
        memory_bytes=machine.memory,
        memory_available_bytes=machine.memory_available,
        disk_bytes=machine.disk,
        disk_free_bytes=machine.disk_free,
    )


def _summary_from(message: pb.PeerSummary) -> PeerSummary:
    return PeerSummary(count=message.count, digest=message.digest, sessions=message.sessions)


def _reality_status_from(message: pb.RealityStatus) -> RealityReport:
    return RealityReport(
        parameters=reality_from(message.parameters) if message.HasField("parameters") else None,
        keys=tuple(
            RealityKey(generation=key.generation, public_key=key.public_key, proof=key.proof) for key in message.keys
        ),
        port=message.port,
    )


def _reality_status_to(report: RealityReport) -> pb.RealityStatus:
    return pb.RealityStatus(
        parameters=None if report.parameters is None else reality_to(report.parameters),
        keys=[
            pb.RealityKey(generation=key.generation, public_key=key.public_key, proof=key.proof) for key in report.keys
        ],
        port=report.port,
    )


def report_to(report: NodeReport) -> pb.StatusReply:
    """Write a node's status."""
    return pb.StatusReply(
        node_id=report.node_id,
        version=report.version,
        applied=fence_to(report.applied),
        started_at_us=report.started_at,
        awg_public_key=report.awg_key,
        derive_public_key=report.derive_key,
        awg_port=report.awg_port,
        awg=None if report.awg is None else parameters_to(report.awg),
        addresses=list(report.addresses),
        peers=[
            pb.PeerStatus(
                device_id=peer.device_id,
                awg_public_key=peer.awg_key,
                last_handshake_us=peer.last_handshake,
                received_bytes=peer.received,
                sent_bytes=peer.sent,
                commitment=peer.commitment,
                generation=peer.generation,
                quota_used_bytes=peer.quota_used,
                digest=peer.digest,
                reality_received_bytes=peer.reality_received,
                reality_sent_bytes=peer.reality_sent,
                reality_handshake_us=peer.reality_handshake,
            )
            for peer in report.peers
        ],
        deny_list=deny_order_to(report.deny_list),
        manifest_version=report.manifest_version,
        certificate_fingerprint=report.certificate,
        now_us=report.now,
        checkpoint=report.checkpoint,
        policy=None if report.policy is None else policy_to(report.policy),
        previous=[_previous_to(endpoint) for endpoint in report.previous],
        token=report.token,
        summary=None if report.summary is None else pb.PeerSummary(**attrs.asdict(report.summary)),
        reality=None if report.reality is None else _reality_status_to(report.reality),
        engines=[pb.Engine(**attrs.asdict(engine)) for engine in report.engines],
        machine=None if report.machine is None else _machine_to(report.machine),
        throttles=report.throttles,
        tells_protocols=report.tells_protocols,
    )


def deny_order_to(order: tuple[int, int]) -> pb.DenyListOrder:
    """Write which deny list is in force."""
    return pb.DenyListOrder(epoch=order[0], version=order[1])


def inventory_to(desired: Desired, *, deny_list: bytes, checkpoint: bytes) -> Iterator[pb.InventoryPart]:
    """Write all that a node holds, in messages of less than 1 MiB."""
    # A deny list may fill a message alone.
    yield pb.InventoryPart(applied=fence_to(desired.fence), deny_list=deny_list, checkpoint=checkpoint)
    peers = list(desired.peers.values())
    for first in range(0, len(peers), INVENTORY_PART):
        part = peers[first : first + INVENTORY_PART]
        yield pb.InventoryPart(applied=fence_to(desired.fence), peers=map(peer_to, part))
