"""Between protobuf messages and our own facts: strictly inward, once, so that nothing else knows a ``_pb2``."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.desired import Fence, Peer, Push
from pharos.wire.errors import ParameterError, RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId, NodeId, check_label

# Times are shown as RFC 3339, which ends with the year 9999.
MAX_TIME: Final = 253_402_300_799_000_000
# An endpoint is at most some 60 characters (IPv6 with a zone and a port), and no reason or version is a longer story.
MAX_TEXT: Final = 256


class EventKind(enum.Enum):
    """What a node reports about a device."""

    HANDSHAKE = "handshake"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    GAP = "gap"


@attrs.frozen(kw_only=True)
class TunnelEvent:
    """One live event of a node."""

    sequence: int
    at: int
    """Microseconds since 1970, by the node's clock."""
    kind: EventKind
    device_id: DeviceId | None
    detail: str
    """Endpoint, reason or the number of events dropped."""


@attrs.frozen(kw_only=True)
class PeerReport:
    """What a node says of one of its peers."""

    device_id: DeviceId
    awg_key: bytes
    last_handshake: int
    """Microseconds since 1970, 0 for never."""
    received: int
    """Bytes."""
    sent: int
    """Bytes."""
    commitment: bytes
    """HMAC(PSK, "commit")[:8]."""


@attrs.frozen(kw_only=True)
class NodeReport:
    """What a node says of itself."""

    node_id: NodeId
    version: str
    applied: Fence
    started_at: int
    """Microseconds since 1970."""
    awg_key: bytes
    derive_key: bytes
    awg_port: int
    awg: ObfuscationParameters | None
    addresses: tuple[str, ...]
    """The node's own, inside the tunnel."""
    peers: tuple[PeerReport, ...]


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


def push_from(message: pb.PushRequest) -> Push:
    """Read a push, every value checked.

    Raises: RemoteProtocolError — a value does not fit; the message names it.
    """
    try:
        return Push(
            fence=fence_from(message.fence),
            snapshot=message.snapshot,
            upsert=tuple(_peer_from(peer) for peer in message.upsert),
            remove=tuple(DeviceId(check_label(device_id)) for device_id in message.remove),
            awg=parameters_from(message.awg) if message.HasField("awg") else None,
            addresses=tuple(message.addresses),
        )
    except ValueError as error:
        raise RemoteProtocolError(f"push: {error}") from error


def push_to(push: Push) -> pb.PushRequest:
    """Write a push."""
    return pb.PushRequest(
        fence=fence_to(push.fence),
        snapshot=push.snapshot,
        upsert=[_peer_to(peer) for peer in push.upsert],
        remove=list(push.remove),
        awg=None if push.awg is None else parameters_to(push.awg),
        addresses=list(push.addresses),
    )


def _peer_from(message: pb.Peer) -> Peer:
    return Peer(
        device_id=DeviceId(message.device_id),
        awg_key=message.awg_public_key,
        derive_key=message.derive_public_key,
        generation=message.generation,
        addresses=tuple(message.addresses),
    )


def _peer_to(peer: Peer) -> pb.Peer:
    return pb.Peer(
        device_id=peer.device_id,
        awg_public_key=peer.awg_key,
        derive_public_key=peer.derive_key,
        generation=peer.generation,
        addresses=list(peer.addresses),
    )


def report_from(message: pb.StatusReply) -> NodeReport:
    """Read a node's status.

    Raises: RemoteProtocolError — a value does not fit.
    """
    try:
        return NodeReport(
            node_id=NodeId(check_label(message.node_id)),
            version=_text(message.version),
            applied=fence_from(message.applied),
            started_at=_time(message.started_at_us),
            awg_key=message.awg_public_key,
            derive_key=message.derive_public_key,
            awg_port=message.awg_port,
            awg=parameters_from(message.awg) if message.HasField("awg") else None,
            addresses=tuple(message.addresses),
            peers=tuple(
                PeerReport(
                    device_id=DeviceId(check_label(peer.device_id)),
                    awg_key=peer.awg_public_key,
                    last_handshake=_time(peer.last_handshake_us),
                    received=peer.received_bytes,
                    sent=peer.sent_bytes,
                    commitment=peer.commitment,
                )
                for peer in message.peers
            ),
        )
    except ValueError as error:
        raise RemoteProtocolError(f"status: {error}") from error


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
            )
            for peer in report.peers
        ],
    )


def event_from(message: pb.Event) -> TunnelEvent | None:
    """Read an event; None is a kind that a newer node knows and we do not.

    Raises: RemoteProtocolError — a value does not fit.
    """
    match message.WhichOneof("what"):
        case "handshake":
            kind, detail = EventKind.HANDSHAKE, message.handshake.endpoint
        case "connected":
            kind, detail = EventKind.CONNECTED, message.connected.endpoint
        case "disconnected":
            kind, detail = EventKind.DISCONNECTED, message.disconnected.reason
        case "gap":
            kind, detail = EventKind.GAP, str(message.gap.dropped)
        case _:
            return None
    try:
        return TunnelEvent(
            sequence=message.sequence,
            at=_time(message.at_us),
            kind=kind,
            device_id=DeviceId(check_label(message.device_id)) if message.device_id else None,
            detail=_text(detail),
        )
    except ValueError as error:
        raise RemoteProtocolError(f"event: {error}") from error


def event_to(event: TunnelEvent) -> pb.Event:
    """Write an event."""
    message = pb.Event(sequence=event.sequence, at_us=event.at, device_id=event.device_id or "")
    match event.kind:
        case EventKind.HANDSHAKE:
            message.handshake.endpoint = event.detail
        case EventKind.CONNECTED:
            message.connected.endpoint = event.detail
        case EventKind.DISCONNECTED:
            message.disconnected.reason = event.detail
        case EventKind.GAP:
            message.gap.dropped = int(event.detail)
    return message


def _time(microseconds: int) -> int:
    if not 0 <= microseconds <= MAX_TIME:
        raise ValueError(f"{microseconds} µs is not a time between 1970 and 9999")
    return microseconds


def _text(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise ValueError(f"a text of {len(text)} characters, at most {MAX_TEXT} fit")
    return text
