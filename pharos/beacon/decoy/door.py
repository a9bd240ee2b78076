"""Which face a connection is shown, decided by the name it asks for before any TLS is spoken.

    octets ─▶ peek: ClientHello ─▶ this relay's own name? ─ yes ─▶ the fleet's context, HTTP/2 in TLS 1.3
                                                      └─ no ──▶ the decoy's context, DecoyStream

The two contexts share nothing. `ssl` could choose between certificates in a callback, but what a handshake asks of the
client and which versions it takes are settled before that: a stranger would be asked for a certificate.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

import trio

from pharos.beacon.decoy.clienthello import HANDSHAKE, RECORD_HEADER, Hello, Wanted, read_hello
from pharos.wire.listen import peek
from pharos.wire.rpc import limits
from pharos.wire.rpc.secure import SecureStream
from pharos.wire.rpc.transport import TlsStream

# Half of the places for those who have not proven themselves: visitors never keep devices out.
MAX_VISITORS: Final = 100


class DecoyStream(TlsStream):
    """TLS with somebody who did not ask for the relay: 1.2 or 1.3, any protocol, no certificate."""

    __slots__ = ("leave",)

    leave: Callable[[], None]
    """Called once, when it is closed."""

    @property
    def protocol(self) -> str | None:
        """What was agreed upon (ALPN): ``h2``, ``http/1.1`` or nothing."""
        return self._socket.selected_alpn_protocol()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            # HTTP/1 marks its ends so, and scanners look for it. We do not wait for an answer.
            with contextlib.suppress(OSError, ValueError):
                self._socket.unwrap()
            self.leave()
        super().close()

    def _check(self) -> None:
        """Whatever its context allows."""


class Door:
    """Makes the streams of a listener that shows two faces."""

    def __init__(
        self,
        own_name: str,
        context: Callable[[], ssl.SSLContext],
        *,
        plain_answer: Callable[[], bytes] = bytes,
        max_visitors: int = MAX_VISITORS,
    ) -> None:
        """``own_name`` is what members ask for, in lower case; ``context`` gives the TLS context for all others.

        ``plain_answer`` makes what is said to those who speak HTTP without TLS.
        """
        self._own_name: Final = own_name
        self._context: Final = context
        self._plain_answer: Final = plain_answer
        self._max_visitors: Final = max_visitors
        self.visitors = 0
        """Who is being shown the decoy now."""

    async def handshake(
        self,
        tcp: socket.socket,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None,
        turns: trio.Lock | None = None,
    ) -> SecureStream:
        """Shake hands as one of the two; errors as `SecureStream.handshake`."""
        try:
            tcp.settimeout(0)
            first = await peek(tcp, 1)
            if first.isupper():
                await _say(tcp, self._plain_answer())
                raise trio.BrokenResourceError("the peer speaks no TLS")
            if first[0] != HANDSHAKE or await _asked_for(tcp) != self._own_name:
                return await self._let_in(tcp, turns)
        except BaseException:
            tcp.close()
            raise
        return await TlsStream.handshake(tcp, context, server_hostname=server_hostname, turns=turns)

    async def _let_in(self, tcp: socket.socket, turns: trio.Lock | None) -> SecureStream:
        if self.visitors >= self._max_visitors:
            raise trio.BrokenResourceError("too many strangers look at the decoy")
        self.visitors += 1
        try:
            stream = await DecoyStream.handshake(tcp, self._context(), server_hostname=None, turns=turns)
        except BaseException:
            self._leave()
            raise
        stream.leave = self._leave
        return stream

    def _leave(self) -> None:
        self.visitors -= 1


async def _asked_for(tcp: socket.socket) -> str | None:
    """Return the name in a connection's ClientHello, which stays there to be received.

    Raises: trio.BrokenResourceError — the peer left before. OSError.
    """
    found: Wanted | Hello = Wanted(RECORD_HEADER)
    while isinstance(found, Wanted):
        found = read_hello(await peek(tcp, found.size))
    return found.server_name


async def _say(tcp: socket.socket, answer: bytes) -> None:
    """Send a last word, and read on for a moment: to close with something unread would take it back.

    Raises: OSError.
    """
    tcp.send(answer)
    tcp.shutdown(socket.SHUT_WR)
    left = limits.LINGER_BYTES
    with trio.move_on_after(limits.LINGER_TIME):
        while left > 0:
            await trio.lowlevel.wait_readable(tcp)
            heard = len(tcp.recv(left))
            if not heard:
                return
            left -= heard
