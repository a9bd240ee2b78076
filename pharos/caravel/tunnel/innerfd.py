"""The inside of a connection whose packets are the host's own, by a device that it has made."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final, TypeAlias

import trio

from pharos.caravel.tunnel.parts import Inner
from pharos.wire.awg.tun import TunGoneError, adopt_tun

IpInterface: TypeAlias = IPv4Interface | IPv6Interface

MAX_READ: Final = 32
"""Packets before others get their turn."""
UTUN_BYTES: Final = 4
_DARWIN: Final = ("darwin", "ios")
_UTUN_HEADERS: Final = {4: b"\0\0\0\x02", 6: b"\0\0\0\x1e"}
"""AF_INET and AF_INET6 of Darwin, most significant octet first (net/if_utun.h)."""


@contextmanager
def open_fd_inner(
    descriptor: int, *, mtu: int, addresses: Sequence[IpInterface] = (), utun: bool | None = None
) -> Iterator[Inner]:
    """Have the inside that a host's device makes, while the block lasts.

    The descriptor stays the host's, which may close it when it likes; it becomes non-blocking. ``mtu`` and
    ``addresses`` are those that the host gave the device. ``utun``: each packet has four octets of its family in front,
    as Darwin's devices want it; None: on Darwin. A header that Linux puts there (IFF_VNET_HDR) is seen by itself.

    Raises: OSError — it is no open descriptor. ParameterError — it has a header that nobody here reads.
    """
    own = os.dup(descriptor)
    try:
        if sys.platform in _DARWIN if utun is None else utun:
            os.set_blocking(own, False)
            yield Inner(far=UtunEnd(own, mtu), streams=None)
        else:
            packed = frozenset(ipaddress.ip_interface(address).ip.packed for address in addresses)
            yield Inner(far=adopt_tun(own, mtu=mtu, is_local=packed.__contains__), streams=None)
    finally:
        os.close(own)


class UtunEnd:
    """A device of Darwin as an ``InnerEnd``. One task reads."""

    def __init__(self, descriptor: int, mtu: int) -> None:
        self.dropped = 0
        """Packets that the device did not take."""
        self._descriptor = descriptor
        self._room = UTUN_BYTES + mtu

    async def receive_packets(self) -> Sequence[bytes]:
        """Raises: TunGoneError."""
        await trio.lowlevel.checkpoint()
        while True:
            packets: list[bytes] = []
            try:
                while len(packets) < MAX_READ:
                    frame = os.read(self._descriptor, self._room)
                    if not frame:
                        raise TunGoneError("the device of the host is closed; connect again")
                    packets.append(frame[UTUN_BYTES:])
            except BlockingIOError:
                pass
            except OSError as error:
                raise TunGoneError(f"the device of the host: {error.strerror}; connect again") from error
            if packets:
                return packets
            await trio.lowlevel.wait_readable(self._descriptor)

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        """Write them; what the device does not take is dropped, and counted."""
        for packet in packets:
            try:
                os.writev(self._descriptor, (_UTUN_HEADERS[6 if packet[0] >> 4 == 6 else 4], packet))
            except OSError:
                # It is full, or down; who reads will hear if it is gone.
                self.dropped += 1
