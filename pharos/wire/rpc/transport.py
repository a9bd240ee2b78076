"""TLS 1.3 over TCP as a Trio stream: dialling, listening, and who the peer is.

`TlsStream` runs TLS on the non-blocking socket itself, which costs half the CPU and memory of
`trio.SSLStream` with its pair of memory BIOs (docs/protocols/rpc.md). `SslStream` is the fallback with the
same face, for a platform where the first misbehaves.
"""

import contextlib
import logging
import socket
import ssl
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, Protocol, Self

import trio

from pharos.wire.errors import LinkLostError, LinkRefusedError, PeerRejectedError, RemoteProtocolError
from pharos.wire.listen import naming_address
from pharos.wire.rpc.status import is_peer_fault
from pharos.wire.units import KIB, SECONDS

log = logging.getLogger(__name__)

# security.md row 33: whoever has not proven itself within 5 s gets no more of our memory.
HANDSHAKE_TIMEOUT: Final = 5 * SECONDS
# What a refused peer may still have in flight when we close: its HTTP/2 preface and first request.
_LINGER_BYTES: Final = 64 * KIB
_LINGER_TIME: Final = 1 * SECONDS
# A peer that always has data ready must not keep other tasks from running: yield after so many reads
# (of at most one 16 KiB TLS record each) that did not have to wait.
_READS_PER_TURN: Final = 16
_RECEIVE_SIZE: Final = 64 * KIB

_Ready = Callable[[socket.socket], Awaitable[None]]


class TlsAlertError(trio.BrokenResourceError):
    """The peer ended the TLS session with an alert: it answered, and said no.

    A TLS 1.3 client learns only here, after its own handshake, that its certificate was refused.
    """


class SecureStream(trio.abc.Stream):
    """A TLS stream that knows its peer. One task may send while another receives."""

    __slots__ = ()

    peer_certificate: bytes | None
    """The peer's certificate in DER, or None if it showed none; verified by the TLS context, no more."""
    peer_address: tuple[str, int]

    @classmethod
    @abstractmethod
    async def handshake(cls, tcp: trio.SocketStream, context: ssl.SSLContext, *, server_hostname: str | None) -> Self:
        """Take over ``tcp`` and shake hands, as the server if ``server_hostname`` is None.

        On any failure, cancellation included, the socket is closed.

        Raises: OSError (ssl.SSLError is one), trio.BrokenResourceError — the handshake failed.
        RemoteProtocolError — the peer negotiated something else than HTTP/2 in TLS 1.3.
        """


class TlsStream(SecureStream):
    """TLS 1.3 directly on a non-blocking socket."""

    __slots__ = ("_other", "_socket", "_turn", "peer_address", "peer_certificate")

    def __init__(self, secured: ssl.SSLSocket, peer_address: tuple[str, int]) -> None:
        self._socket = secured
        self._turn = 0
        # A TLS KeyUpdate can make reader and writer wait for the same readiness, which trio grants to one
        # task only: the other waits here for it.
        self._other = trio.lowlevel.ParkingLot()
        self.peer_address = peer_address
        self.peer_certificate = None

    @classmethod
    async def handshake(cls, tcp: trio.SocketStream, context: ssl.SSLContext, *, server_hostname: str | None) -> Self:
        try:
            address = _peer_address(tcp)
            plain = socket.socket(fileno=tcp.socket.detach())
        except BaseException:
            await trio.aclose_forcefully(tcp)
            raise
        try:
            plain.settimeout(0)
            secured = context.wrap_socket(
                plain,
                server_side=server_hostname is None,
                server_hostname=server_hostname,
                do_handshake_on_connect=False,
            )
        except BaseException:
            plain.close()
            raise
        self = cls(secured, address)
        try:
            await self._shake_hands()
            check_protocol(secured.version(), secured.selected_alpn_protocol())
        except BaseException as error:
            if isinstance(error, ssl.SSLError) and server_hostname is None:
                await self._linger()
            secured.close()
            raise
        self.peer_certificate = secured.getpeercert(binary_form=True)
        return self

    async def _shake_hands(self) -> None:
        while True:
            try:
                self._socket.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._socket)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._socket)
            else:
                return

    async def _linger(self) -> None:
        """Close, but let the alert reach the peer: closing over unread bytes resets the connection."""
        with contextlib.suppress(OSError), socket.socket(fileno=self._socket.detach()) as plain:
            plain.settimeout(0)
            plain.shutdown(socket.SHUT_WR)
            left = _LINGER_BYTES
            with trio.move_on_after(_LINGER_TIME):
                while left > 0:
                    await trio.lowlevel.wait_readable(plain)
                    received = len(plain.recv(left))
                    if not received:
                        return
                    left -= received

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self._take_turn()
        while True:
            try:
                return self._socket.recv(_RECEIVE_SIZE if max_bytes is None else max_bytes)
            except ssl.SSLWantReadError:
                self._turn = 0
                await self._wait(trio.lowlevel.wait_readable)
            except ssl.SSLWantWriteError:
                await self._wait(trio.lowlevel.wait_writable)
            except (OSError, ValueError) as error:
                raise self._broken(error) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._take_turn()
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                try:
                    sent += self._socket.send(view[sent:])
                except ssl.SSLWantWriteError:
                    await self._wait(trio.lowlevel.wait_writable)
                except ssl.SSLWantReadError:
                    await self._wait(trio.lowlevel.wait_readable)
                except (OSError, ValueError) as error:
                    raise self._broken(error) from error

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError
        await self._wait(trio.lowlevel.wait_writable)

    async def aclose(self) -> None:
        """Close the socket. HTTP/2 marks its own ends, so no close_notify is exchanged."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
        await trio.lowlevel.checkpoint()

    async def _take_turn(self) -> None:
        self._turn += 1
        if self._turn >= _READS_PER_TURN:
            self._turn = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _wait(self, ready: _Ready) -> None:
        try:
            await ready(self._socket)
        except trio.BusyResourceError:
            await self._other.park()
        finally:
            if self._other:
                self._other.unpark_all()

    def _broken(self, error: Exception) -> Exception:
        if self._socket.fileno() < 0:
            return trio.ClosedResourceError("this stream was closed")
        return _broken(error)


class SslStream(SecureStream):
    """`trio.SSLStream` with the face of `TlsStream`."""

    def __init__(self, secured: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = secured
        self.peer_address = _peer_address(secured.transport_stream)
        self.peer_certificate = secured.getpeercert(binary_form=True)

    @classmethod
    async def handshake(cls, tcp: trio.SocketStream, context: ssl.SSLContext, *, server_hostname: str | None) -> Self:
        secured = trio.SSLStream(
            tcp,
            context,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
            https_compatible=True,
        )
        try:
            try:
                await secured.do_handshake()
            except trio.BrokenResourceError as error:
                if isinstance(error.__cause__, ssl.SSLError):
                    raise error.__cause__ from None
                raise
            check_protocol(secured.version(), secured.selected_alpn_protocol())
            return cls(secured)
        except BaseException:
            await trio.aclose_forcefully(tcp)
            raise

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            return await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            raise _broken(error.__cause__ or error) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise _broken(error.__cause__ or error) from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def open_tls(
    host: str,
    port: int,
    context: ssl.SSLContext,
    *,
    server_hostname: str,
    transport: type[SecureStream] = TlsStream,
) -> SecureStream:
    """Dial ``host`` and shake hands, expecting a certificate for ``server_hostname`` whatever the address is.

    The caller owns the timeout and the stream. That the server accepts *our* certificate shows only later,
    when its HTTP/2 SETTINGS arrive (`Connection.wait_up`).

    Raises: LinkLostError — nobody answers there, or the connection broke off.
    PeerRejectedError — the server's certificate does not verify.
    LinkRefusedError — the server refused us with a TLS alert.
    RemoteProtocolError — what answers is not TLS 1.3 with HTTP/2.
    """
    try:
        tcp = await trio.open_tcp_stream(host, port)
        return await transport.handshake(tcp, context, server_hostname=server_hostname)
    except ssl.SSLCertVerificationError as error:
        raise PeerRejectedError(f"{server_hostname}: {error.verify_message}") from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        raise LinkLostError(f"{host} port {port} closed during the TLS handshake") from error
    except ssl.SSLError as error:
        if is_alert(error):
            raise LinkRefusedError(f"{host} port {port} refused us: {error.reason}") from error
        raise RemoteProtocolError(f"{host} port {port} does not speak TLS 1.3: {error.reason}") from error
    except (OSError, trio.BrokenResourceError) as error:
        raise LinkLostError(f"{host} port {port} cannot be reached: {error}") from error


class StreamHandler(Protocol):
    """What `serve_tls` does with a connection; the stream is closed when it returns."""

    async def __call__(self, stream: SecureStream, /) -> None: ...


async def serve_tls(
    handler: StreamHandler,
    *,
    host: str,
    port: int,
    context: ssl.SSLContext,
    handshake_timeout: float = HANDSHAKE_TIMEOUT,
    transport: type[SecureStream] = TlsStream,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Listen on one address and run ``handler`` for each peer that passes the TLS handshake.

    ``started`` is called with the bound address. A peer's junk, a failed handshake or an exception of the
    handler ends that connection and nothing else.

    Raises: OSError — the address cannot be bound.
    """

    async def serve_peer(tcp: trio.SocketStream) -> None:
        try:
            with trio.fail_after(handshake_timeout):
                stream = await transport.handshake(tcp, context, server_hostname=None)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, RemoteProtocolError) as error:
            log.info("handshake failed: %r", error)
            return
        try:
            await handler(stream)
        except Exception as error:
            if is_peer_fault(error):
                log.info("connection from %s ended: %r", stream.peer_address, error)
            else:
                log.exception("the handler of the connection from %s failed", stream.peer_address)
        finally:
            await trio.aclose_forcefully(stream)

    with naming_address(host, port, "TCP"):
        listeners = await trio.open_tcp_listeners(port, host=host)
    bound_host, bound_port = listeners[0].socket.getsockname()[:2]
    task_status.started((bound_host, bound_port))
    await trio.serve_listeners(serve_peer, listeners)


def check_protocol(version: str | None, alpn: str | None) -> None:
    """Refuse anything but HTTP/2 in TLS 1.3, whatever the TLS context would allow.

    Raises: RemoteProtocolError — it is something else.
    """
    if version != "TLSv1.3" or alpn != "h2":
        raise RemoteProtocolError(f"the peer negotiated {version} with {alpn}, not TLSv1.3 with h2")


def is_alert(error: BaseException | None) -> bool:
    """Tell whether a TLS error is an alert that the peer sent (RFC 8446 §6)."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def _broken(error: BaseException) -> trio.BrokenResourceError:
    if is_alert(error):
        return TlsAlertError(str(error))
    return trio.BrokenResourceError(str(error))


def _peer_address(tcp: trio.SocketStream) -> tuple[str, int]:
    host, port = tcp.socket.getpeername()[:2]
    return host, port
