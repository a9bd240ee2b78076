"""The inner end of a tunnel: where its IP packets come from and go to.

An in-memory link is one (``memory``), and a TCP stack sits at the other end of such a link. A TUN interface (``tun``)
is read and written by calls of its own, which cost less.
"""

import abc
from collections.abc import Sequence
from typing import Protocol

from pharos.wire.awg.batches import PacketRows


class InnerEnd(Protocol):
    """What a pump needs of it. Packets travel in batches, for an await costs more than a packet."""

    async def receive_packets(self) -> Sequence[bytes]:
        """Wait for packets to send through the tunnel; return at least one, at most a few dozen."""
        ...

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        """Take packets that came through the tunnel. Never blocks; what overflows is the end's own policy."""
        ...


class PacketDevice(abc.ABC):
    """A device of the system whose packets go by without being copied; one task reads and one writes."""

    most: int
    """Packets that one read brings."""

    @abc.abstractmethod
    def fileno(self) -> int: ...

    @abc.abstractmethod
    def read_nowait(self) -> PacketRows:
        """Return the packets that are there, at least one and at most ``most``; valid until the next read.

        Raises: BlockingIOError — there is none. WireError — the device is gone.
        """

    @abc.abstractmethod
    def write_nowait(self, packets: Sequence[memoryview], rows: PacketRows | None = None) -> None:
        """Take packets, whose bytes may change meanwhile; what the device does not take is dropped.

        ``rows`` is where the first of them stand, if they are of one size and at equal distances.

        Raises: WireError — the device is gone.
        """
