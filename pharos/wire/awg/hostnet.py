"""What a TUN interface has to know of the machine around it: its addresses, and the interface's own MTU and end."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Final, NoReturn

import trio

from pharos.wire.awg.netlink import (
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
    AddressSeen,
    LinkSeen,
    Message,
    RequestDone,
    ask_addresses,
    parse_messages,
    set_gso_max_size,
)
from pharos.wire.units import KIB

_ROOM_BYTES: Final = 64 * KIB
"""More than Linux puts into one answer (32 KiB)."""


class HostNetwork:
    """The addresses of this network namespace, followed as they change; ``open_host_network`` is its task's home.

    ``on_link`` is told the MTU of each interface that changes, by its index; None means that it is gone.
    """

    def __init__(self, on_link: Callable[[int, int | None], None]) -> None:
        self.addresses: frozenset[bytes] = _dump()
        """Packed."""
        self._on_link = on_link

    def is_local(self, address: bytes) -> bool:
        """Whether packets to a packed address end here."""
        return address in self.addresses

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Follow changes until cancelled."""
        with _open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR) as sock:
            sock.settimeout(0.0)
            # What changed before the socket listened.
            self.addresses = _dump()
            task_status.started()
            while True:
                await trio.lowlevel.wait_readable(sock)
                try:
                    messages = parse_messages(sock.recv(_ROOM_BYTES))
                except BlockingIOError:
                    continue
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    # There was more news than room; what it was shows a look at everything.
                    self.addresses = _dump()
                    continue
                self._take(messages)

    def _take(self, messages: list[Message]) -> None:
        # An address may have been there twice: what is left tells only a new look.
        if any(isinstance(message, AddressSeen) for message in messages):
            self.addresses = _dump()
        for message in messages:
            if isinstance(message, LinkSeen):
                self._on_link(message.index, message.mtu)


def limit_gso(index: int, size: int) -> None:
    """Have Linux put together packets of at most ``size`` bytes for an interface, before it cuts them.

    Raises: OSError — it does not know how, or we may not.
    """
    for message in _ask(set_gso_max_size(index, size)):
        if isinstance(message, RequestDone) and message.error:
            raise OSError(message.error, os.strerror(message.error))


def _dump() -> frozenset[bytes]:
    return frozenset(message.address for message in _ask(ask_addresses()) if isinstance(message, AddressSeen))


def _ask(request: bytes) -> list[Message]:
    """Return the whole answer to a request; the kernel answers at once."""
    found: list[Message] = []
    with _open(0) as sock:
        sock.send(request)
        while not any(isinstance(message, RequestDone) for message in found):
            found += parse_messages(sock.recv(_ROOM_BYTES))
    return found


def _open(groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.bind((0, groups))
    return sock
