"""The events that an engine of ours sends after ``watch=1``: lines of ``key=value`` and an empty line for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pharos.wire.awg.events import (
    Event,
    HandshakeCompleted,
    HandshakeGaveUp,
    PeerCounted,
    PeerEndpointChanged,
    SessionEnded,
)
from pharos.wire.awg.texts import read_endpoint, read_flag, read_hex_key, write_endpoint
from pharos.wire.errors import RemoteProtocolError

_NAMES: Final[dict[str, type[Event]]] = {
    "handshake": HandshakeCompleted,
    "endpoint": PeerEndpointChanged,
    "session_ended": SessionEnded,
    "gave_up": HandshakeGaveUp,
    "counters": PeerCounted,
}


def render_event(event: Event) -> str:
    """Write an event."""
    name = next(name for name, kind in _NAMES.items() if isinstance(event, kind))
    lines = [f"event={name}", f"public_key={event.peer.hex()}"]
    match event:
        case HandshakeCompleted():
            lines += [f"endpoint={write_endpoint(event.endpoint)}", f"initiator={str(event.initiator).lower()}"]
            lines += [f"at_ns={event.at_ns}"]
        case PeerEndpointChanged():
            lines += [f"endpoint={write_endpoint(event.endpoint)}"]
            lines += [] if event.previous is None else [f"previous={write_endpoint(event.previous)}"]
        case HandshakeGaveUp():
            lines += [f"attempts={event.attempts}"]
        case PeerCounted():
            lines += [f"rx_bytes={event.received_bytes}", f"tx_bytes={event.sent_bytes}"]
    return "\n".join(lines) + "\n\n"


def parse_event(text: str) -> Event | None:
    """Read an event without the empty line at its end; None is a kind of a newer engine.

    Raises: RemoteProtocolError — a line or a value does not fit.
    """
    lines = dict(line.partition("=")[::2] for line in text.splitlines())
    kind = _NAMES.get(lines.pop("event", ""))
    if kind is None:
        return None
    values: dict[str, Any] = {"previous": None} if kind is PeerEndpointChanged else {}
    try:
        for key, value in lines.items():
            if key in _READERS:
                field, read = _READERS[key]
                values[field] = read(value)
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise RemoteProtocolError(f"UAPI: an event does not fit: {error}") from error


_READERS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "public_key": ("peer", read_hex_key),
    "endpoint": ("endpoint", read_endpoint),
    "previous": ("previous", read_endpoint),
    "initiator": ("initiator", read_flag),
    "at_ns": ("at_ns", int),
    "attempts": ("attempts", int),
    "rx_bytes": ("received_bytes", int),
    "tx_bytes": ("sent_bytes", int),
}
