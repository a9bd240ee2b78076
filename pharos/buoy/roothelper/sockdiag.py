"""The two messages of Linux's socket monitor that end a TCP connection, without I/O (sock_diag(7), inet_diag.h).

Ports and addresses are in network order, all else in the machine's own.
"""

from __future__ import annotations

import errno
from struct import Struct
from typing import Final

import attrs

from pharos.buoy.roothelper.acts import SocketPair

NETLINK_SOCK_DIAG: Final = 4
NO_COOKIE: Final = b"\xff" * 8
"""In a request: whichever socket it is."""

_HEADER: Final = Struct("=IHHII")
"""Bytes of the message, its type, flags, sequence number, port."""
_REQUEST: Final = Struct("=BBBxI")
"""Family, protocol, extensions, mask of states; an identity follows."""
_PORTS: Final = Struct("!HH")
_SCOPE: Final = Struct("=I")
_STATE: Final = Struct("=BBBB")
"""Family, state, timer, retransmissions; an identity follows."""
_USE: Final = Struct("=IIIII")
"""Expiry, both queues, uid, inode."""
_ERROR: Final = Struct("=i")
_ADDRESS_BYTES: Final = 16
_IDENTITY_BYTES: Final = _PORTS.size + 2 * _ADDRESS_BYTES + _SCOPE.size + len(NO_COOKIE)

_NLMSG_ERROR: Final = 2
_SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 20, 21
_NLM_F_REQUEST, _NLM_F_ACK = 0x1, 0x4
_AF_INET, _AF_INET6, _IPPROTO_TCP = 2, 10, 6
_ALL_STATES: Final = 0xFFFFFFFF
_TCP_LISTEN: Final = 10


@attrs.frozen(kw_only=True)
class SocketSeen:
    """A TCP socket as the kernel describes it."""

    ports: tuple[int, int]
    """Local and remote; the remote one of a listener is 0."""
    listens: bool
    uid: int
    """Of whoever made or accepted it."""
    cookie: bytes
    """Told from every other socket, of before and after, by this."""

    def is_connection(self, pair: SocketPair) -> bool:
        """Whether it is that very connection: where there is none, the kernel answers with who listens on its port."""
        return not self.listens and self.ports == (pair.local.port, pair.remote.port)


def find_socket(pair: SocketPair) -> bytes:
    """Ask for one connection."""
    return _message(_SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, pair, NO_COOKIE)


def destroy_socket(pair: SocketPair, cookie: bytes) -> bytes:
    """End one connection, if it is still the one with this cookie; both programs and the far end hear of it."""
    return _message(_SOCK_DESTROY, _NLM_F_REQUEST | _NLM_F_ACK, pair, cookie)


def parse_answer(data: bytes) -> SocketSeen | int:
    """Return the socket that was asked for, or the errno of the answer, 0 for success."""
    if len(data) < _HEADER.size:
        return errno.EBADMSG
    _, kind, _, _, _ = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if kind == _NLMSG_ERROR and len(body) >= _ERROR.size:
        return int(-_ERROR.unpack_from(body)[0])
    if kind != _SOCK_DIAG_BY_FAMILY or len(body) < _STATE.size + _IDENTITY_BYTES + _USE.size:
        return errno.EBADMSG
    _, state, _, _ = _STATE.unpack_from(body)
    identity = body[_STATE.size : _STATE.size + _IDENTITY_BYTES]
    _, _, _, uid, _ = _USE.unpack_from(body, _STATE.size + _IDENTITY_BYTES)
    local, remote = _PORTS.unpack_from(identity)
    return SocketSeen(ports=(local, remote), listens=state == _TCP_LISTEN, uid=uid, cookie=identity[-len(NO_COOKIE) :])


def _message(kind: int, flags: int, pair: SocketPair, cookie: bytes) -> bytes:
    family = _AF_INET if pair.local.address.version == 4 else _AF_INET6
    identity = _PORTS.pack(pair.local.port, pair.remote.port)
    for end in (pair.local, pair.remote):
        identity += end.address.packed.ljust(_ADDRESS_BYTES, b"\0")
    body = _REQUEST.pack(family, _IPPROTO_TCP, 0, _ALL_STATES) + identity + _SCOPE.pack(0) + cookie
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body
