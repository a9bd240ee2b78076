"""The few messages of Linux's routing socket that a TUN interface needs, without I/O (rtnetlink(7)).

All numbers are in the machine's own byte order.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, TypeAlias

import attrs

RTMGRP_LINK: Final = 0x1
RTMGRP_IPV4_IFADDR: Final = 0x10
RTMGRP_IPV6_IFADDR: Final = 0x100

_HEADER: Final = Struct("=IHHII")
"""Bytes of the message, its type, flags, sequence number, port."""
_ADDRESS: Final = Struct("=BBBBI")
"""Family, prefix length, flags, scope, index of the interface."""
_LINK: Final = Struct("=BxHiII")
"""Family, type, index, flags, mask of the flags to change."""
_ATTRIBUTE: Final = Struct("=HH")
_U32: Final = Struct("=I")
_ERROR: Final = Struct("=i")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_DELLINK, _RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 16, 17, 20, 21, 22
_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x300
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFLA_MTU, _IFLA_TXQLEN, _IFLA_GSO_MAX_SIZE = 4, 13, 41
_IFF_UP: Final = 0x1


@attrs.frozen
class AddressSeen:
    """An interface has an address, or no longer has it."""

    address: bytes
    """Packed, 4 or 16 bytes."""
    present: bool


@attrs.frozen
class LinkSeen:
    """An interface as it is, or ``mtu`` None when it is gone."""

    index: int
    mtu: int | None


@attrs.frozen
class RequestDone:
    """The answer to a request of ours is complete."""

    error: int
    """An errno; 0 is success."""


Message: TypeAlias = AddressSeen | LinkSeen | RequestDone


def ask_addresses() -> bytes:
    """Ask for every address of every interface."""
    return _message(_RTM_GETADDR, _REQUEST | _DUMP, _ADDRESS.pack(0, 0, 0, 0, 0))


def set_gso_max_size(index: int, size: int) -> bytes:
    """Have packets of at most ``size`` bytes be put together for an interface."""
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + _U32.size, _IFLA_GSO_MAX_SIZE) + _U32.pack(size)
    return _message(_RTM_NEWLINK, _REQUEST | _ACKNOWLEDGE, _LINK.pack(0, 0, index, 0, 0) + attribute)


def set_link(index: int, *, mtu: int, queue_packets: int) -> bytes:
    """Turn an interface on, with packets of at most ``mtu`` bytes, of which so many may wait for their reader."""
    attributes = b"".join(
        _ATTRIBUTE.pack(_ATTRIBUTE.size + _U32.size, kind) + _U32.pack(value)
        for kind, value in ((_IFLA_MTU, mtu), (_IFLA_TXQLEN, queue_packets))
    )
    return _message(_RTM_NEWLINK, _REQUEST | _ACKNOWLEDGE, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP) + attributes)


def parse_messages(data: bytes) -> list[Message]:
    """Read what one read of the socket brought; what is of no interest is left out."""
    found: list[Message] = []
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            break
        message = _parse(kind, data[at + _HEADER.size : at + size])
        if message is not None:
            found.append(message)
        at += _aligned(size)
    return found


def _parse(kind: int, body: bytes) -> Message | None:
    if kind == _NLMSG_DONE:
        return RequestDone(0)
    if kind == _NLMSG_ERROR and len(body) >= _ERROR.size:
        return RequestDone(-_ERROR.unpack_from(body)[0])
    if kind in (_RTM_NEWADDR, _RTM_DELADDR) and len(body) >= _ADDRESS.size:
        attributes = dict(read_attributes(body[_ADDRESS.size :]))
        # Of a point-to-point line the other attribute is the far end.
        address = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS))
        return None if address is None else AddressSeen(address, kind == _RTM_NEWADDR)
    if kind in (_RTM_NEWLINK, _RTM_DELLINK) and len(body) >= _LINK.size:
        _, _, index, _, _ = _LINK.unpack_from(body)
        if kind == _RTM_DELLINK:
            return LinkSeen(index, None)
        mtu = dict(read_attributes(body[_LINK.size :])).get(_IFLA_MTU, b"")
        return LinkSeen(index, _U32.unpack(mtu)[0]) if len(mtu) == _U32.size else None
    return None


def read_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give kind and value of each attribute (RFC 3549 §2.3.2, linux/rtnetlink.h); what is cut short ends them."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + size]
        at += _aligned(size)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _aligned(size: int) -> int:
    return (size + 3) & ~3
