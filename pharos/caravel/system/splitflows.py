"""Connections that the kernel tracks, forgotten by their mark (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import os
import socket
from struct import Struct
from typing import Final

from pharos.caravel.errors import SystemModeError
from pharos.wire.units import KIB

_NETLINK_NETFILTER: Final = 12  # linux/netlink.h
_HEADER: Final = Struct("=IHHII")
_FAMILY: Final = Struct("!BBH")
_ATTRIBUTE: Final = Struct("=HH")
_VALUE: Final = Struct("!I")
_ERROR: Final = Struct("=i")
_CT_DELETE: Final = 1 << 8 | 2
"""NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE: without a tuple, of all that match."""
_REQUEST, _ACKNOWLEDGE = 0x1, 0x4
_CTA_MARK, _CTA_MARK_MASK = 8, 21
_FINE: Final = (errno.ENOENT, errno.EOPNOTSUPP)
"""There are none; or this kernel forgets none by a mark, and they go on as they began until they end."""


def forget_connections(bit: int) -> None:
    """Forget connections whose mark has this bit: their next packet begins anew.

    Raises: SystemModeError.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
        sock.bind((0, 0))
        sock.send(deletion(bit, bit))
        answer = sock.recv(4 * KIB)
    number = -_ERROR.unpack_from(answer, _HEADER.size)[0]
    if number and number not in _FINE:
        raise SystemModeError(f"connections cannot choose their side anew: {os.strerror(number)}")


def deletion(mark: int, mask: int) -> bytes:
    """Return the message that asks for it."""
    body = _FAMILY.pack(socket.AF_UNSPEC, 0, 0)
    for kind, value in ((_CTA_MARK, mark), (_CTA_MARK_MASK, mask)):
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + _VALUE.size, kind) + _VALUE.pack(value)
    return _HEADER.pack(_HEADER.size + len(body), _CT_DELETE, _REQUEST | _ACKNOWLEDGE, 1, 0) + body
