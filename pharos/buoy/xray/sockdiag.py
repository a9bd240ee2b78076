"""The few messages of Linux's socket monitor that tell which TCP connections there are, without I/O (sock_diag(7)).

To look takes no right; to end one is root's, and the root helper's. Numbers are in the machine's own byte order, ports
and addresses in the network's.
"""

from __future__ import annotations

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final, TypeAlias

import attrs

from pharos.buoy.roothelper.acts import SocketAddress, SocketPair

FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)

_HEADER: Final = Struct("=IHHII")
"""Bytes of the message, its type, flags, sequence number, port."""
_REQUEST: Final = Struct("=BBBxI")
"""Family, protocol, extensions wanted, states wanted."""
_SOCKET: Final = Struct("!HH16s16sI8s")
"""Source port, destination port, both addresses, interface, cookie."""
_STATE: Final = Struct("=BBBB")
"""Family, state, timer, retransmissions; then a `_SOCKET`."""
_ERROR: Final = Struct("=i")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SOCK_DIAG_BY_FAMILY: Final = 20
_ASK, _DUMP = 0x1, 0x300
_ESTABLISHED: Final = 1
# A device that has said its last word may still be sent something: half-closed connections count as open.
_FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT = 4, 5, 8
_OPEN: Final = 1 << _ESTABLISHED | 1 << _FIN_WAIT1 | 1 << _FIN_WAIT2 | 1 << _CLOSE_WAIT
_ANY_COOKIE: Final = b"\xff" * 8
_NOWHERE: Final = bytes(16)


@attrs.frozen
class SocketSeen:
    """A connection of this machine."""

    pair: SocketPair


@attrs.frozen
class RequestDone:
    """The answer to a request is complete."""

    error: int
    """An errno; 0 is success."""


Message: TypeAlias = SocketSeen | RequestDone


def ask_sockets(family: int, local_port: int) -> bytes:
    """Ask for the open TCP connections at a port; what IPv4 devices have with a socket of both families is IPv6's."""
    which = _SOCKET.pack(local_port, 0, _NOWHERE, _NOWHERE, 0, _ANY_COOKIE)
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _OPEN) + which
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _ASK | _DUMP, 1, 0) + body


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
        at += (size + 3) & ~3
    return found


def _parse(kind: int, body: bytes) -> Message | None:
    if kind == _NLMSG_DONE:
        return RequestDone(0)
    if kind == _NLMSG_ERROR and len(body) >= _ERROR.size:
        return RequestDone(-_ERROR.unpack_from(body)[0])
    if kind != _SOCK_DIAG_BY_FAMILY or len(body) < _STATE.size + _SOCKET.size:
        return None
    family, _, _, _ = _STATE.unpack_from(body)
    local_port, remote_port, local, remote, _, _ = _SOCKET.unpack_from(body, _STATE.size)
    if family not in FAMILIES or not local_port or not remote_port:
        return None
    ends = (_address(family, local), local_port), (_address(family, remote), remote_port)
    return SocketSeen(SocketPair(SocketAddress(*ends[0]), SocketAddress(*ends[1])))


def _address(family: int, packed: bytes) -> IPv4Address | IPv6Address:
    if family == socket.AF_INET:
        return IPv4Address(packed[:4])
    address = ipaddress.IPv6Address(packed)
    return address.ipv4_mapped or address
