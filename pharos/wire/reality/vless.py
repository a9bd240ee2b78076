"""VLESS: what a client says before its payload, and what the server answers.

    request   [version 0] [user id, 16] [addons' length] [addons] [command] [port u16] [type] [address]
    response  [version 0] [addons' length] [addons]

The command MUX has no address: each frame in it brings its own (`pharos.wire.reality.xudp`). Addons are a message of
protobuf. Nothing in here is encrypted: VLESS leaves that to what carries it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

import attrs

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.reality.addresses import VLESS, Address

VERSION: Final = 0
USER_ID_OCTETS: Final = 16
MAX_REQUEST: Final = 1 + USER_ID_OCTETS + 1 + 255 + 1 + 2 + 1 + 1 + 255
"""Octets, in the order of the fields: 533."""

_RESPONSE: Final = bytes((VERSION, 0))
# Of the protobuf messages in here: field 1 is the flow. Field 2 was a seed of Vision's, and means nothing today.
_FLOW_FIELD: Final = 1
_VARINT, _BYTES = 0, 2
# Octets of the types of a fixed size: 64 bits are of type 1, 32 bits of type 5.
_FIXED: Final = {1: 8, 5: 4}
_MAX_VARINT: Final = 10
"""Octets of seven bits each, for 64 bits."""
_MAX_QUOTED: Final = 40


class Command(enum.IntEnum):
    TCP = 1
    UDP = 2
    MUX = 3


class Flow(enum.Enum):
    """How the payload travels inside the outer TLS."""

    NONE = ""
    """As it is."""
    VISION = "xtls-rprx-vision"
    """Padded at first, and past the outer TLS once it is TLS 1.3 itself (`pharos.wire.reality.vision`)."""


@attrs.frozen(kw_only=True)
class Request:
    """Raises: LocalProtocolError — its parts do not fit each other."""

    user_id: bytes = attrs.field(repr=False)
    """The 16 octets of a UUID. Whoever has them is that user."""
    command: Command
    target: Address | None
    """None with MUX, and only then."""
    flow: Flow

    def __attrs_post_init__(self) -> None:
        if len(self.user_id) != USER_ID_OCTETS:
            raise LocalProtocolError(f"a user id has {USER_ID_OCTETS} octets, not {len(self.user_id)}")
        if (self.target is None) != (self.command is Command.MUX):
            raise LocalProtocolError("VLESS: every command but MUX has a target")
        if self.command is Command.UDP and self.flow is Flow.VISION:
            raise LocalProtocolError("Vision carries no UDP of VLESS's own; use MUX with XUDP")

    def render(self) -> bytes:
        name = self.flow.value.encode()
        addons = bytes((_FLOW_FIELD << 3 | _BYTES, len(name))) + name if name else b""
        head = b"".join((bytes((VERSION,)), self.user_id, bytes((len(addons),)), addons, bytes((self.command,))))
        return head if self.target is None else head + VLESS.render(self.target)


def parse_request(data: bytes | bytearray) -> tuple[Request, int] | None:
    """Return the request at the beginning and how many octets it has; None if it is not whole yet.

    Whose user id it shows is for `pharos.wire.reality.accounts` to say.

    Raises: RemoteProtocolError — no request begins like that, or it is for something we do not have.
    """
    _check_version(data)
    addons = _addons(data, 1 + USER_ID_OCTETS)
    if addons is None or len(data) <= addons[1]:
        return None
    flow, at = addons
    try:
        command = Command(data[at])
    except ValueError:
        raise RemoteProtocolError(f"VLESS: there is no command {data[at]}") from None
    target, end = None, at + 1
    if command is not Command.MUX:
        found = VLESS.parse(data, end)
        if found is None:
            return None
        target, end = found
    if command is Command.UDP and flow is Flow.VISION:
        raise RemoteProtocolError("VLESS: Vision carries no UDP but XUDP")
    return Request(user_id=bytes(data[1 : 1 + USER_ID_OCTETS]), command=command, target=target, flow=flow), end


def render_response() -> bytes:
    """Return what a server says, once, before its first payload."""
    return _RESPONSE


def parse_response(data: bytes | bytearray) -> int | None:
    """Return how many octets the response at the beginning has; None if it is not whole yet. Its addons say nothing.

    Raises: RemoteProtocolError — no response begins like that.
    """
    _check_version(data)
    addons = _addons(data, 1)
    return None if addons is None else addons[1]


def _check_version(data: bytes | bytearray) -> None:
    if data and data[0] != VERSION:
        raise RemoteProtocolError(f"VLESS: version {data[0]} is none that we know")


def _addons(data: bytes | bytearray, at: int) -> tuple[Flow, int] | None:
    """Read the addons whose length is at ``at``; return what they say and where they end, None if they are not whole.

    Raises: RemoteProtocolError — they are no message of protobuf, or name a flow that we do not have.
    """
    if len(data) <= at or len(data) < (end := at + 1 + data[at]):
        return None
    name = b""
    for field, value in _fields(bytes(data[at + 1 : end])):
        if field == _FLOW_FIELD:
            # As protobuf has it: the last one counts.
            name = value
    try:
        return Flow(name.decode("latin-1")), end
    except ValueError:
        raise RemoteProtocolError(f"VLESS: there is no flow {name[:_MAX_QUOTED]!r}") from None


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the fields of a protobuf message that hold octets, and pass over all others.

    Raises: RemoteProtocolError — it is damaged.
    """
    at = 0
    while at < len(message):
        tag, begin = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        if not field:
            raise RemoteProtocolError("VLESS: the addons have a field 0")
        if kind == _VARINT:
            _, at = _varint(message, begin)
        elif kind == _BYTES:
            length, begin = _varint(message, begin)
            at = begin + length
        elif kind in _FIXED:
            at = begin + _FIXED[kind]
        else:
            raise RemoteProtocolError(f"VLESS: field {field} of the addons is of no type of protobuf")
        if at > len(message):
            raise RemoteProtocolError(f"VLESS: field {field} of the addons is cut off")
        if kind == _BYTES:
            yield field, message[begin:at]
        elif field == _FLOW_FIELD:
            raise RemoteProtocolError("VLESS: the flow is a text")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at`` and where it ends (protobuf's encoding, "Base 128 varints")."""
    value = 0
    for number, octet in enumerate(message[at : at + _MAX_VARINT]):
        value |= (octet & 0x7F) << 7 * number
        if octet < 0x80:
            return value, at + number + 1
    raise RemoteProtocolError("VLESS: a number in the addons is cut off or too long")
