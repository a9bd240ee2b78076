"""Datagrams through a VLESS stream, at either end of it, by XUDP or by the command UDP."""

from __future__ import annotations

import logging
from collections import deque

import trio

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError, TruncatedError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.datagrams import DatagramReader, render_datagram
from pharos.wire.reality.front import DatagramTunnel
from pharos.wire.reality.xudp import Datagram, XudpEnd

log = logging.getLogger(__name__)


class FixedEnd:
    """The command UDP in the shape of `XudpEnd`: all datagrams go to, and come from, one target, whatever they say."""

    ended = False

    def __init__(self, target: Address) -> None:
        self._target = target
        self._reader = DatagramReader()

    @property
    def is_between(self) -> bool:
        return self._reader.is_between

    def send_datagram(self, datagram: Datagram) -> bytes:
        """Raises: LocalProtocolError — it is too long."""
        return render_datagram(datagram.data)

    def receive_data(self, data: bytes) -> list[Datagram]:
        return [Datagram(self._target, one) for one in self._reader.receive_data(data)]


class VlessDatagrams(DatagramTunnel):
    """Owns ``stream``, and fails as it does; that the peer has ended is such a failure too: nothing follows.

    One task sends at a time, and one receives.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, end: XudpEnd | FixedEnd) -> None:
        self.stream = stream
        self._end = end
        self._received: deque[Datagram] = deque()

    async def send_datagram(self, datagram: Datagram) -> None:
        """Send; one that is too long for a peer is lost. Raises: as the stream's ``send_all``."""
        try:
            frame = self._end.send_datagram(datagram)
        except LocalProtocolError as error:
            log.debug("a datagram was lost: %s", error)
            await trio.lowlevel.checkpoint()
            return
        await self.stream.send_all(frame)

    async def receive_datagram(self) -> Datagram:
        while not self._received:
            if self._end.ended:
                raise trio.BrokenResourceError("the peer has ended the datagrams")
            data = await self.stream.receive_some()
            try:
                if not data:
                    if not self._end.is_between:
                        raise TruncatedError("the stream ended inside a datagram")
                    raise trio.BrokenResourceError("the peer has ended the stream of datagrams")
                self._received.extend(self._end.receive_data(bytes(data)))
            except RemoteProtocolError as error:
                raise trio.BrokenResourceError(f"the datagrams have failed: {error}") from error
        return self._received.popleft()

    async def aclose(self) -> None:
        await self.stream.aclose()
