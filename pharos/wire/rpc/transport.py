"""TLS 1.3 over TCP as a Trio stream: dialling, listening, and who the peer is.

`TlsStream` runs TLS on the non-blocking socket itself, which costs half the CPU and memory of
`trio.SSLStream` with its pair of memory BIOs (docs/protocols/rpc.md). `SslStream` is the fallback with the
same face, for a platform where the first misbehaves.
"""

import contextlib
import logging
import math
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, Protocol, Self

import trio

from pharos.wire.errors import LinkLostError, LinkRefusedError, PeerRejectedError, RemoteProtocolError
from pharos.wire.listen import BACKLOG, accept_forever, file_limit, naming_address, peek, refuse
from pharos.wire.rpc import limits
from pharos.wire.rpc.admission import Admission, Bounds, Digest, Place, Refusal
from pharos.wire.rpc.secure import (
    SecureStream,
    TlsAlertError,
    Transport,
    broken,
    check_end,
    check_protocol,
    is_alert,
    limit_stall,
    peer_address,
    send_promptly,
)
from pharos.wire.rpc.status import is_peer_fault
from pharos.wire.tcpdial import Protect, Resolve, make_protected, open_tcp
from pharos.wire.units import KIB, SECONDS
from pharos.wire.world import this_world

__all__ = ["SecureStream", "SslStream", "TlsAlertError", "TlsStream", "open_tls", "serve_tls"]

log = logging.getLogger(__name__)

# security.md row 33: whoever has not proven itself within 5 s gets no more of our memory.
HANDSHAKE_TIMEOUT: Final = 5 * SECONDS
# A peer that always has data ready must not keep other tasks from running: yield after so many reads
# (of at most one 16 KiB TLS record each) that did not have to wait.
_READS_PER_TURN: Final = 16
# One read returns at most one TLS record (RFC 8446 §5.1); room for more would be allocated and freed each time.
_LARGEST_RECORD: Final = 16 * KIB
# Each step of a handshake is a millisecond of CPU. Where no more than so many strangers are about, their steps need not
# take turns: together they are as long as one burst of calls.
_STEPS_AT_ONCE: Final = 4

_Ready = Callable[[socket.socket], Awaitable[None]]


class TlsStream(SecureStream):
    """TLS 1.3 directly on a non-blocking socket."""

    __slots__ = ("_other", "_socket", "_turn", "peer_address", "peer_certificate")

    def __init__(self, secured: ssl.SSLSocket, peer_address: tuple[str, int]) -> None:
        self._socket = secured
        self.place = None
        self._turn = 0
        # A TLS KeyUpdate can make reader and writer wait for the same readiness, which trio grants to one
        # task only: the other waits here for it.
        self._other = trio.lowlevel.ParkingLot()
        self.peer_address = peer_address
        self.peer_certificate = None

    @classmethod
    async def handshake(
        cls,
        tcp: socket.socket,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None,
        turns: trio.Lock | None = None,
    ) -> Self:
        try:
            tcp.settimeout(0)
            send_promptly(tcp)
            address = peer_address(tcp)
            if server_hostname is None:
                # Whoever says nothing, or leaves at once, costs no TLS object (some 30 kB).
                await peek(tcp, 1)
            secured = context.wrap_socket(
                tcp,
                server_side=server_hostname is None,
                server_hostname=server_hostname,
                do_handshake_on_connect=False,
            )
        except BaseException:
            tcp.close()
            raise
        self = cls(secured, address)
        try:
            await self._shake_hands(turns)
            self._check()
        except BaseException as error:
            if isinstance(error, ssl.SSLError) and server_hostname is None:
                await self._linger()
            secured.close()
            raise
        self.peer_certificate = secured.getpeercert(binary_form=True)
        return self

    def _check(self) -> None:
        check_protocol(self._socket.version(), self._socket.selected_alpn_protocol())

    async def _shake_hands(self, turns: trio.Lock | None) -> None:
        while True:
            try:
                if turns is None:
                    self._socket.do_handshake()
                else:
                    async with turns:
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
            left = limits.LINGER_BYTES
            with trio.move_on_after(limits.LINGER_TIME):
                while left > 0:
                    await trio.lowlevel.wait_readable(plain)
                    received = len(plain.recv(left))
                    if not received:
                        return
                    left -= received

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        size = _LARGEST_RECORD if max_bytes is None else min(max_bytes, _LARGEST_RECORD)
        await self._take_turn()
        while True:
            try:
                data = self._socket.recv(size)
            except ssl.SSLWantReadError:
                self._turn = 0
                await self._wait(trio.lowlevel.wait_readable)
            except ssl.SSLWantWriteError:
                await self._wait(trio.lowlevel.wait_writable)
            except (OSError, ValueError) as error:
                raise self._broken(error) from error
            else:
                if not data:
                    check_end(self._socket)
                return data

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
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

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
        return broken(error)


class SslStream(SecureStream):
    """`trio.SSLStream` with the face of `TlsStream`."""

    def __init__(self, secured: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = secured
        self.place = None
        self.peer_address = peer_address(secured.transport_stream.socket)
        self.peer_certificate = secured.getpeercert(binary_form=True)

    @classmethod
    async def handshake(
        cls,
        tcp: socket.socket,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None,
        turns: trio.Lock | None = None,
    ) -> Self:
        stream = trio.SocketStream(this_world().trio_socket(tcp))
        secured = trio.SSLStream(
            stream,
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
            await trio.aclose_forcefully(stream)
            raise

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            raise broken(error.__cause__ or error) from error
        if not data:
            check_end(self._stream.transport_stream.socket)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise broken(error.__cause__ or error) from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def close(self) -> None:
        self._stream.transport_stream.socket.close()


async def open_tls(
    host: str,
    port: int,
    context: ssl.SSLContext,
    *,
    server_hostname: str,
    transport: type[SecureStream] = TlsStream,
    user_timeout: float | None = None,
    protect: Protect | None = None,
    resolve: Resolve | None = None,
) -> SecureStream:
    """Dial ``host`` and shake hands, expecting a certificate for ``server_hostname`` whatever the address is.

    The caller owns the timeout and the stream. ``user_timeout`` is `USER_TIMEOUT` unless given. That the server accepts
    *our* certificate shows only later, when its HTTP/2 SETTINGS arrive (`Connection.wait_up`).

    Raises: LinkLostError — nobody answers there, or the connection broke off.
    PeerRejectedError — the server's certificate does not verify.
    LinkRefusedError — the server refused us with a TLS alert.
    RemoteProtocolError — what answers is not TLS 1.3 with HTTP/2.
    """
    try:
        tcp = await _connect(host, port, protect, resolve)
        limit_stall(tcp, user_timeout)
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


async def _connect(host: str, port: int, protect: Protect | None, resolve: Resolve | None) -> socket.socket:
    """Raises: OSError."""
    family = _family(host)
    if family is None:
        stream = await open_tcp(host, port, protect=protect, resolve=resolve)
        return this_world().socket_of(stream.socket.detach())
    # There is nothing to look up and no second address to race the first (RFC 8305).
    sock = make_protected(family, protect)
    try:
        sock.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            sock.connect((host, port))
        await trio.lowlevel.wait_writable(sock)
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
    except BaseException:
        sock.close()
        raise
    return sock


def _family(host: str) -> socket.AddressFamily | None:
    """Return the family of an IP address; None if ``host`` is a name, or names an interface besides."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return family
    return None


class StreamHandler(Protocol):
    """What `serve_tls` does with a connection; the stream is closed when it returns."""

    async def __call__(self, stream: SecureStream, /) -> None: ...


async def serve_tls(
    handler: StreamHandler,
    *,
    host: str,
    port: int,
    context: ssl.SSLContext | Callable[[], ssl.SSLContext],
    handshake_timeout: float | None = None,
    user_timeout: float | None = None,
    bounds: Bounds | None = None,
    admission: Admission | None = None,
    transport: Transport = TlsStream,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Listen on one address and run ``handler`` for each peer that passes the TLS handshake.

    ``started`` is called with the bound address. A peer's junk, a failed handshake or an exception of the
    handler ends that connection and nothing else. What exceeds the ``bounds`` is reset as soon as it is accepted. A
    peer counts as unauthenticated until its certificate is verified; without one, until the handler calls
    `SecureStream.admitted` or returns. A ``context`` that can be called is asked anew for each handshake. The
    timeouts are `HANDSHAKE_TIMEOUT` and `USER_TIMEOUT` unless given. Listeners that share an ``admission`` have its
    bounds together.

    Raises: OSError — the address cannot be bound.
    """
    if admission is None:
        admission = Admission(bounds or Bounds(), descriptors=file_limit())
    refusals, failures = Digest(), Digest()
    turns = trio.Lock()
    patience = HANDSHAKE_TIMEOUT if handshake_timeout is None else handshake_timeout

    async def occupy(sock: socket.socket, address: str, place: Place) -> None:
        displaced = False

        def make_room() -> None:
            nonlocal displaced
            displaced = True
            report(Refusal.STRANGERS, address)
            scope.cancel()

        place.displaced = make_room
        limit_stall(sock, user_timeout)
        with place, trio.CancelScope(deadline=trio.current_time() + patience) as scope:
            try:
                share = turns if admission.unauthenticated > _STEPS_AT_ONCE else None
                current = context if isinstance(context, ssl.SSLContext) else context()
                stream = await transport.handshake(sock, current, server_hostname=None, turns=share)
            except (OSError, trio.BrokenResourceError, RemoteProtocolError) as error:
                failed(error)
                return
            scope.deadline = math.inf
            await serve_peer(stream, place)
        if scope.cancelled_caught and not displaced:
            failed(trio.TooSlowError())

    async def serve_peer(stream: SecureStream, place: Place) -> None:
        if stream.peer_certificate is None:
            stream.place = place
        else:
            place.leave()
        try:
            await handler(stream)
        # Cancelled may come along in the group, when the listener ends while the handler fails.
        except* Exception as errors:
            if is_peer_fault(errors):
                log.info("connection from %s ended: %r", stream.peer_address, errors)
            else:
                log.exception("the handler of the connection from %s failed", stream.peer_address)
        finally:
            stream.close()

    def failed(error: Exception) -> None:
        log.debug("handshake failed: %r", error)
        if (line := failures.note("failed handshakes", repr(error), trio.current_time())) is not None:
            log.info("port %d: %s", bound_port, line)

    def report(why: Refusal, address: str) -> None:
        if (line := refusals.note(why.value, address, trio.current_time())) is not None:
            log.warning("port %d refuses connections: %s", bound_port, line)

    def take(sock: socket.socket, address: str) -> None:
        found = admission.admit(address, sock.fileno(), trio.current_time())
        if isinstance(found, Refusal):
            refuse(sock)
            report(found, address)
        else:
            peers.start_soon(occupy, sock, address, found)

    with naming_address(host, port, "TCP"):
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    bound_host, bound_port = listeners[0].socket.getsockname()[:2]
    async with trio.open_nursery() as peers:
        task_status.started((bound_host, bound_port))
        await accept_forever(listeners, take, exhausted=lambda: report(Refusal.FILES, "unseen"))
    raise AssertionError("listening ends by cancellation only")
