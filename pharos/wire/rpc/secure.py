"""The face of a TLS stream that knows its peer, and what its implementations share."""

from __future__ import annotations

import contextlib
import socket
import ssl
from abc import abstractmethod
from typing import Final, Protocol, Self

import trio

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.rpc.admission import Place
from pharos.wire.units import KIB, MILLISECONDS, SECONDS

# Row 40 at the level of TCP: a peer whose window stays shut answers probes for ever. With this the kernel ends what has
# made no progress for so long (RFC 5482; tcp(7), TCP_USER_TIMEOUT), closing sockets included.
USER_TIMEOUT: Final = 30 * SECONDS
_CUT_OFF: Final = "cut off: reset, or no progress for too long"
# The state after a reset or a timeout; after the peer's FIN it is CLOSE_WAIT (<net/tcp_states.h>).
_TCP_CLOSE: Final = 7


# One record of TLS.
_UNSENT: Final = 16 * KIB


class TlsAlertError(trio.BrokenResourceError):
    """The peer ended the TLS session with an alert: it answered, and said no.

    A TLS 1.3 client learns only here, after its own handshake, that its certificate was refused.
    """


class SecureStream(trio.abc.Stream):
    """A TLS stream that knows its peer. One task may send while another receives."""

    __slots__ = ("place",)

    peer_certificate: bytes | None
    """The peer's certificate in DER, or None if it showed none; verified by the TLS context, no more."""
    peer_address: tuple[str, int]
    place: Place | None
    """Where the stream counts as unauthenticated; None where it does not."""

    def admitted(self) -> None:
        """Count the peer among strangers no more: it has proven, by other means than a certificate, who it is."""
        if self.place is not None:
            self.place.leave()

    @abstractmethod
    def close(self) -> None:
        """Close the socket at once. Idempotent."""

    @classmethod
    @abstractmethod
    async def handshake(
        cls,
        tcp: socket.socket,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None,
        turns: trio.Lock | None = None,
    ) -> Self:
        """Take over ``tcp``, which is connected, and shake hands: as the server if ``server_hostname`` is None.

        Those who share ``turns`` take them, where the implementation can: each step is a millisecond of CPU, and
        other tasks run in between. On any failure, cancellation included, the socket is closed.

        Raises: OSError (ssl.SSLError is one), trio.BrokenResourceError — the handshake failed.
        RemoteProtocolError — the peer negotiated something else than HTTP/2 in TLS 1.3.
        """


class Transport(Protocol):
    """What makes secure streams of accepted sockets: a class of them, or what chooses between several."""

    async def handshake(
        self,
        tcp: socket.socket,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None,
        turns: trio.Lock | None = None,
    ) -> SecureStream:
        """Do what `SecureStream.handshake` says."""


def limit_stall(sock: socket.socket | trio.socket.SocketType, user_timeout: float | None) -> None:
    """Let the kernel end a TCP connection that has something to send and gets nowhere with it for so many seconds."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        seconds = USER_TIMEOUT if user_timeout is None else user_timeout
        # A connection that is broken already says so when it is used.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds / MILLISECONDS))


def send_promptly(sock: socket.socket) -> None:
    """Set what `trio.SocketStream` sets: small messages wait for nothing, and little waits unsent in the kernel."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)


def is_alert(error: BaseException | None) -> bool:
    """Tell whether a TLS error is an alert that the peer sent (RFC 8446 §6)."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def broken(error: BaseException) -> trio.BrokenResourceError:
    """Return what a stream raises for what the socket raised."""
    if is_alert(error):
        return TlsAlertError(str(error))
    if isinstance(error, ssl.SSLEOFError):
        return trio.BrokenResourceError(_CUT_OFF)
    return trio.BrokenResourceError(str(error))


def check_end(sock: socket.socket | trio.socket.SocketType) -> None:
    """See whether what looks like the end of a stream is one, where the platform can tell.

    Python's ssl makes an end of every errno that it meets below TLS, and the kernel tells an errno once.

    Raises: trio.BrokenResourceError — the peer did not close: the connection was reset, or timed out.
    """
    if hasattr(socket, "TCP_INFO"):
        with contextlib.suppress(OSError):
            # struct tcp_info begins with the state, one octet.
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
                raise trio.BrokenResourceError(_CUT_OFF)


def peer_address(tcp: socket.socket | trio.socket.SocketType) -> tuple[str, int]:
    host, port = tcp.getpeername()[:2]
    return host, port


def check_protocol(version: str | None, alpn: str | None) -> None:
    """Refuse anything but HTTP/2 in TLS 1.3, whatever the TLS context would allow.

    Raises: RemoteProtocolError — it is something else.
    """
    if version != "TLSv1.3" or alpn != "h2":
        raise RemoteProtocolError(f"the peer negotiated {version} with {alpn}, not TLSv1.3 with h2")
