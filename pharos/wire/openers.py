"""What a tunnel has to offer to programs: streams and datagrams whose other end is beyond it."""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from pharos.wire.addresses import Address, Datagram

OpenTcp: TypeAlias = Callable[[str, int], Awaitable[trio.abc.HalfCloseableStream]]
"""Opens a stream to host and port, which the caller then owns.

Raises: OSError, trio.BrokenResourceError, WireError — it cannot be.
"""


class DatagramTunnel(trio.abc.AsyncResource):
    """A socket for datagrams at the other end of a tunnel. Failures are those of streams."""

    @abc.abstractmethod
    async def send_datagram(self, datagram: Datagram) -> None:
        """Send to the datagram's address; one that cannot be carried is lost, as datagrams may be."""

    @abc.abstractmethod
    async def receive_datagram(self) -> Datagram:
        """Return the next one with the address it came from."""


class DatagramRefusedError(OSError):
    """A datagram did not arrive, and somebody said so: an error of the one address, not of the socket.

    Only sockets that were opened to tell of refusals raise it.
    """

    def __init__(self, number: int, text: str, address: Address) -> None:
        super().__init__(number, text)
        self.address = address
        """Whom it was sent to."""


OpenUdp: TypeAlias = Callable[[], Awaitable[DatagramTunnel]]
"""Opens a socket of its own, which the caller then owns. Raises: as `OpenTcp`."""
