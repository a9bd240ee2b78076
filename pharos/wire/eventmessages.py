"""Between protobuf messages and events of nodes (`pharos.wire.convert` has everything else)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.ids import DeviceId, check_label
from pharos.wire.reports import AMNEZIAWG, REALITY, EventKind, TunnelEvent

# Times are shown as RFC 3339, which ends with the year 9999.
MAX_TIME: Final = 253_402_300_799_000_000
# An endpoint is at most some 60 characters (IPv6 with a zone and a port), and no reason or version is a longer story.
MAX_TEXT: Final = 256
# A number that only a newer node knows is none.
_PROTOCOLS: Final[Mapping[int, str]] = {pb.PROTOCOL_AMNEZIAWG: AMNEZIAWG, pb.PROTOCOL_REALITY: REALITY}
_NUMBERS: Final = {AMNEZIAWG: pb.PROTOCOL_AMNEZIAWG, REALITY: pb.PROTOCOL_REALITY}


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
            at=check_time(message.at_us),
            kind=kind,
            device_id=DeviceId(check_label(message.device_id)) if message.device_id else None,
            detail=check_text(detail),
            protocol=_PROTOCOLS.get(message.protocol, ""),
        )
    except ValueError as error:
        raise RemoteProtocolError(f"event: {error}") from error


def event_to(event: TunnelEvent) -> pb.Event:
    """Write an event."""
    message = pb.Event(
        sequence=event.sequence,
        at_us=event.at,
        device_id=event.device_id or "",
        protocol=_NUMBERS.get(event.protocol, pb.PROTOCOL_UNSPECIFIED),
    )
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


def check_time(microseconds: int) -> int:
    """Return a time. Raises: ValueError — it cannot be shown."""
    if not 0 <= microseconds <= MAX_TIME:
        raise ValueError(f"{microseconds} µs is not a time between 1970 and 9999")
    return microseconds


def check_text(text: str) -> str:
    """Return a text. Raises: ValueError — it is too long."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"a text of {len(text)} characters, at most {MAX_TEXT} fit")
    return text
