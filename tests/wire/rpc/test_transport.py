"""Dialling and listening over TLS: who is refused, how, and what it costs the others."""

import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing

from pharos.wire.errors import LinkLostError, LinkRefusedError, PeerRejectedError, RemoteProtocolError
from pharos.wire.rpc.admission import Bounds
from pharos.wire.rpc.client import open_channel
from pharos.wire.rpc.server import Service, serve_connection
from pharos.wire.rpc.status import is_peer_fault
from pharos.wire.rpc.transport import SecureStream, SslStream, TlsAlertError, TlsStream, open_tls, serve_tls
from tests.support.floods import DATA, END_STREAM, PING, SETTINGS, WINDOW_UPDATE, raw, request
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping, WatchRequest
from tests.support.h2peer import PREFACE
from tests.support.rpc import HOST, SERVER_NAME, EchoService, Pems, ThrowawayCa, dial, frame, running_server

both_transports = pytest.mark.parametrize("transport", [TlsStream, SslStream])


@pytest.fixture(scope="module")
def ca() -> ThrowawayCa:
    return ThrowawayCa()


@pytest.fixture(scope="module")
def pems(ca: ThrowawayCa) -> Pems:
    return ca.issue("client.test")


@asynccontextmanager
async def stream_pair(
    ca: ThrowawayCa, transport: type[SecureStream]
) -> AsyncIterator[tuple[SecureStream, SecureStream]]:
    """Client and server end of one TLS connection."""
    send, receive = trio.open_memory_channel[SecureStream](0)

    async def handle(stream: SecureStream) -> None:
        await send.send(stream)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        context = ca.server_context(ca.issue(SERVER_NAME))
        address = await nursery.start(start_serving, handle, context, transport)
        client = await dial(ca, address, transport=transport)
        server = await receive.receive()
        yield client, server
        await client.aclose()
        nursery.cancel_scope.cancel()


async def start_serving(
    handle: object,
    context: ssl.SSLContext,
    transport: type[SecureStream] = TlsStream,
    bounds: Bounds | None = None,
    user_timeout: float | None = None,
    *,
    task_status: trio.TaskStatus[tuple[str, int]],
) -> None:
    await serve_tls(
        handle,  # type: ignore[arg-type]
        host=HOST,
        port=0,
        context=context,
        transport=transport,
        bounds=bounds,
        user_timeout=user_timeout,
        task_status=task_status,
    )


@both_transports
async def test_handler_knows_its_peer(ca: ThrowawayCa, pems: Pems, transport: type[SecureStream]) -> None:
    service = EchoService()
    async with running_server(Service([service]), ca, transport=transport) as address:
        stream = await dial(ca, address, pems=pems, transport=transport)
        assert stream.peer_address == address
        async with open_channel(stream, authority=SERVER_NAME) as channel:
            await EchoStub(channel).Echo(Ping(seq=1))
        (peer,) = service.peers
        assert peer.certificate == pems.der
        assert peer.address is not None
        assert peer.address[0] == HOST
        assert "0x" not in repr(peer)
        assert repr(pems.der)[:20] not in repr(peer)


@both_transports
async def test_large_data_passes_both_ways_at_once(ca: ThrowawayCa, transport: type[SecureStream]) -> None:
    payload = bytes(range(256)) * 8192  # 2 MiB: more than socket buffers take

    async def receive(stream: SecureStream) -> None:
        received = bytearray()
        while len(received) < len(payload):
            received += await stream.receive_some()
        assert received == payload

    async with stream_pair(ca, transport) as (client, server):
        async with trio.open_nursery() as nursery:
            for stream in (client, server):
                nursery.start_soon(stream.send_all, payload)
                nursery.start_soon(receive, stream)
        await client.wait_send_all_might_not_block()


@both_transports
async def test_closing_wakes_a_reader_and_tells_the_peer(ca: ThrowawayCa, transport: type[SecureStream]) -> None:
    async with stream_pair(ca, transport) as (client, server):
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await client.receive_some()

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await client.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await client.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await client.wait_send_all_might_not_block()
        await client.aclose()
        with suppress(trio.BrokenResourceError):
            assert await server.receive_some() == b""


async def test_cancelled_receive_loses_nothing(ca: ThrowawayCa) -> None:
    async with stream_pair(ca, TlsStream) as (client, server):
        for number in range(20):
            with trio.move_on_after(0):
                await client.receive_some()
            await server.send_all(bytes([number]))
            assert await client.receive_some() == bytes([number])


async def test_reader_and_writer_may_wait_for_the_same_readiness(ca: ThrowawayCa) -> None:
    """As after a TLS KeyUpdate, which makes a reader want to write; trio lets one task wait."""
    async with stream_pair(ca, TlsStream) as (client, server):
        assert isinstance(client, TlsStream)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(client._wait, trio.lowlevel.wait_readable)
                await trio.testing.wait_all_tasks_blocked(0.01)
                await server.send_all(b"x")


async def test_reader_that_never_waits_lets_others_run(ca: ThrowawayCa) -> None:
    async with stream_pair(ca, TlsStream) as (client, server):
        ran = 0

        async def count() -> None:
            nonlocal ran
            while True:
                ran += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send_all, b"x" * 400_000)
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.start_soon(count)
            left = 400_000
            while left:
                left -= len(await client.receive_some(1000))
            assert ran >= 400_000 // 1000 // 16 // 2
            nursery.cancel_scope.cancel()


# -- dialling


async def test_dialling_nobody_is_a_lost_link(ca: ThrowawayCa, pems: Pems) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        address = unused.getsockname()
        with pytest.raises(LinkLostError, match="cannot be reached"):
            await dial(ca, address, pems=pems)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_addresses_and_names_are_both_dialled(ca: ThrowawayCa, pems: Pems, host: str) -> None:
    async with running_server(Service([EchoService()]), ca) as (_host, port):
        stream = await open_tls(host, port, ca.client_context(pems), server_hostname=SERVER_NAME)
        assert stream.peer_address == ("127.0.0.1", port)
        stream.close()
        stream.close()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()


@both_transports
async def test_server_of_another_name_is_rejected(ca: ThrowawayCa, pems: Pems, transport: type[SecureStream]) -> None:
    async with running_server(Service([]), ca, transport=transport) as address:
        with pytest.raises(PeerRejectedError, match=r"other\.test"):
            await open_tls(*address, ca.client_context(pems), server_hostname="other.test", transport=transport)


@both_transports
async def test_server_of_another_ca_is_rejected(ca: ThrowawayCa, pems: Pems, transport: type[SecureStream]) -> None:
    async with running_server(Service([]), ThrowawayCa(), transport=transport) as address:
        with pytest.raises(PeerRejectedError):
            await dial(ca, address, pems=pems, transport=transport)


@both_transports
async def test_client_without_a_certificate_learns_that_it_is_refused(
    ca: ThrowawayCa, transport: type[SecureStream]
) -> None:
    """Its own handshake succeeds: TLS 1.3 tells it only afterwards. (`trio.SSLStream` sends no alert.)"""
    async with running_server(Service([EchoService()]), ca) as address:
        context = ca.client_context(None)
        stream = await open_tls(*address, context, server_hostname=SERVER_NAME, transport=transport)
        with pytest.raises(LinkRefusedError, match=r"(?i)certificate.required"):
            async with open_channel(stream, authority=SERVER_NAME):
                pass


async def test_server_that_speaks_no_tls_is_not_one_of_ours(ca: ThrowawayCa, pems: Pems) -> None:
    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(b"SSH-2.0-OpenSSH_9.6\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, greet, 0)
        address = listeners[0].socket.getsockname()[:2]
        with pytest.raises(RemoteProtocolError, match="does not speak TLS"):
            await dial(ca, (HOST, address[1]), pems=pems)
        nursery.cancel_scope.cancel()


async def test_server_that_closes_at_once_is_a_lost_link(ca: ThrowawayCa, pems: Pems) -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, hang_up, 0)
        with pytest.raises(LinkLostError):
            await dial(ca, (HOST, listeners[0].socket.getsockname()[1]), pems=pems)
        nursery.cancel_scope.cancel()


@both_transports
async def test_peer_without_http2_is_refused_by_both_sides(
    ca: ThrowawayCa, pems: Pems, transport: type[SecureStream]
) -> None:
    without = ca.client_context(pems)
    without.set_alpn_protocols(["http/1.1"])
    async with running_server(Service([]), ca, transport=transport) as address:
        with pytest.raises(RemoteProtocolError, match=r"not TLSv1\.3 with h2"):
            await open_tls(*address, without, server_hostname=SERVER_NAME, transport=transport)


async def test_tls_1_2_is_refused_whatever_the_context_allows(ca: ThrowawayCa, pems: Pems) -> None:
    server, client = ca.server_context(ca.issue(SERVER_NAME)), ca.client_context(pems)
    for context in (server, client):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def handle(_stream: SecureStream) -> None:
        raise AssertionError("a TLS 1.2 peer got through")

    async with trio.open_nursery() as nursery:
        address: tuple[str, int] = await nursery.start(start_serving, handle, server)
        with pytest.raises((RemoteProtocolError, LinkLostError)):
            await open_tls(*address, client, server_hostname=SERVER_NAME)
        nursery.cancel_scope.cancel()


@both_transports
async def test_cancelled_dial_leaves_no_socket_open(ca: ThrowawayCa, pems: Pems, transport: type[SecureStream]) -> None:
    closed = trio.Event()

    async def say_nothing(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            pass
        closed.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, say_nothing, 0)
        address = (HOST, listeners[0].socket.getsockname()[1])
        with trio.move_on_after(0.05):
            await dial(ca, address, pems=pems, transport=transport)
        with trio.fail_after(5):
            await closed.wait()
        nursery.cancel_scope.cancel()


# -- listening


@both_transports
async def test_silent_client_is_dropped_after_the_handshake_timeout(
    ca: ThrowawayCa, transport: type[SecureStream]
) -> None:
    async with running_server(Service([]), ca, transport=transport, handshake_timeout=0.05) as address:
        stream = await trio.open_tcp_stream(*address)
        with trio.fail_after(5), suppress(trio.BrokenResourceError):
            assert await stream.receive_some() == b""
        await stream.aclose()


@both_transports
async def test_crash_of_a_connection_handler_is_logged_and_contained(
    ca: ThrowawayCa, pems: Pems, transport: type[SecureStream], caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    async def crash_once(stream: SecureStream) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        await stream.send_all(b"alive")

    async with trio.open_nursery() as nursery:
        context = ca.server_context(ca.issue(SERVER_NAME))
        address = await nursery.start(start_serving, crash_once, context, transport)
        first = await dial(ca, address, pems=pems, transport=transport)
        with suppress(trio.BrokenResourceError):
            assert await first.receive_some() == b""
        second = await dial(ca, address, pems=pems, transport=transport)
        assert await second.receive_some() == b"alive"
        for stream in (first, second):
            await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()
    assert "failed" in caplog.text
    caplog.clear()


async def test_fault_of_the_peer_is_no_error_of_ours(ca: ThrowawayCa, pems: Pems) -> None:
    """The log guard would fail this test."""

    async def refuse(_stream: SecureStream) -> None:
        raise PeerRejectedError("wrong role")

    async with trio.open_nursery() as nursery:
        address = await nursery.start(start_serving, refuse, ca.server_context(ca.issue(SERVER_NAME)))
        stream = await dial(ca, address, pems=pems)
        with suppress(trio.BrokenResourceError):
            assert await stream.receive_some() == b""
        await stream.aclose()
        nursery.cancel_scope.cancel()


# -- who counts as a stranger


ONE_EACH = Bounds(pending_per_source=1)


@asynccontextmanager
async def greeter(
    ca: ThrowawayCa, transport: type[SecureStream], *, admits: bool = False
) -> AsyncIterator[tuple[str, int]]:
    """One place for each address; whoever gets in is greeted, and stays."""

    async def greet(stream: SecureStream) -> None:
        if admits:
            stream.admitted()
            stream.admitted()
        await stream.send_all(b"welcome")
        await trio.sleep_forever()

    context = ca.server_context(ca.issue(SERVER_NAME))
    context.verify_mode = ssl.CERT_OPTIONAL
    async with trio.open_nursery() as nursery:
        yield await nursery.start(start_serving, greet, context, transport, ONE_EACH)
        nursery.cancel_scope.cancel()


async def is_greeted(context: ssl.SSLContext, address: tuple[str, int]) -> SecureStream | None:
    """Dial, and return the stream if it was greeted."""
    with trio.fail_after(20):
        try:
            stream = await open_tls(*address, context, server_hostname=SERVER_NAME)
        except LinkLostError:
            return None
        assert await stream.receive_some() == b"welcome"
        return stream


@both_transports
async def test_members_count_until_their_handshake_is_done(
    ca: ThrowawayCa, pems: Pems, transport: type[SecureStream]
) -> None:
    context = ca.client_context(pems)
    async with greeter(ca, transport) as address:
        for stream in [await is_greeted(context, address) for _ in range(3)]:
            assert stream is not None
            await trio.aclose_forcefully(stream)


@both_transports
async def test_strangers_count_until_they_leave(ca: ThrowawayCa, transport: type[SecureStream]) -> None:
    context = ca.client_context(None)
    async with greeter(ca, transport) as address:
        first = await is_greeted(context, address)
        assert first is not None
        assert await is_greeted(context, address) is None
        await trio.aclose_forcefully(first)


@both_transports
async def test_strangers_count_until_the_handler_admits_them(ca: ThrowawayCa, transport: type[SecureStream]) -> None:
    context = ca.client_context(None)
    async with greeter(ca, transport, admits=True) as address:
        for stream in [await is_greeted(context, address) for _ in range(3)]:
            assert stream is not None
            stream.admitted()
            await trio.aclose_forcefully(stream)


async def test_stranger_who_leaves_makes_room(ca: ThrowawayCa) -> None:
    left = trio.Event()

    async def see_off(stream: SecureStream) -> None:
        await stream.send_all(b"welcome")
        while await stream.receive_some():
            pass

    async def see_all_off(stream: SecureStream) -> None:
        try:
            await see_off(stream)
        finally:
            left.set()

    context = ca.server_context(ca.issue(SERVER_NAME))
    context.verify_mode = ssl.CERT_OPTIONAL
    async with trio.open_nursery() as nursery:
        address = await nursery.start(start_serving, see_all_off, context, TlsStream, ONE_EACH)
        for _ in range(2):
            stream = await is_greeted(ca.client_context(None), address)
            assert stream is not None
            await stream.aclose()
            with trio.fail_after(20):
                await left.wait()
            left = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_oldest_stranger_makes_room_for_a_newcomer(ca: ThrowawayCa) -> None:
    ended = 0

    async def greet(stream: SecureStream) -> None:
        nonlocal ended
        try:
            await stream.send_all(b"welcome")
            await trio.sleep_forever()
        finally:
            ended += 1

    context = ca.server_context(ca.issue(SERVER_NAME))
    context.verify_mode = ssl.CERT_OPTIONAL
    async with trio.open_nursery() as nursery:
        address = await nursery.start(start_serving, greet, context, TlsStream, Bounds(unauthenticated=2))
        streams = [await is_greeted(ca.client_context(None), address) for _ in range(3)]
        with trio.fail_after(20):
            assert streams[0] is not None
            with suppress(trio.BrokenResourceError):
                assert await streams[0].receive_some() == b""
        assert ended == 1
        for stream in streams:
            assert stream is not None
            await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


# -- a peer that TCP alone keeps alive


STALL = 0.5


# All the credit that HTTP/2 has to give (RFC 9113 §6.9.1), and a call that is answered without end.
GENEROUS = [
    PREFACE
    + raw(SETTINGS, 0, 0, struct.pack(">HL", 4, 2**31 - 1))
    + raw(WINDOW_UPDATE, 0, 0, struct.pack(">L", 2**30)),
    request(1, "Watch") + raw(DATA, END_STREAM, 1, frame(WatchRequest(size=10_000))),
]


async def outlives_a_deaf_peer(ca: ThrowawayCa, user_timeout: float, transport: type[SecureStream]) -> bool:
    """Answer a peer whose TCP answers probes, whose program writes now and then, and never reads."""
    service = Service([EchoService()])
    ended = trio.Event()

    async def serve(stream: SecureStream) -> None:
        await serve_connection(stream, service)
        ended.set()

    async def speak(stream: SecureStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                await stream.send_all(raw(PING, 0, 0, bytes(8)))
                await trio.sleep(STALL / 2)

    async with trio.open_nursery() as nursery:
        context = ca.server_context(ca.issue(SERVER_NAME))
        address = await nursery.start(start_serving, serve, context, transport, None, user_timeout)
        stream = await dial(ca, address)
        for part in GENEROUS:
            await stream.send_all(part)
        nursery.start_soon(speak, stream)
        with trio.move_on_after(6 * STALL):
            await ended.wait()
        await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()
    return not ended.is_set()


@both_transports
@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this platform cannot end what does not move")
async def test_peer_that_never_reads_is_lost(
    ca: ThrowawayCa, transport: type[SecureStream], caplog: pytest.LogCaptureFixture
) -> None:
    assert not await outlives_a_deaf_peer(ca, STALL, transport)
    assert re.search(r"ended: the connection broke: (cut off|\[Errno 110\])", caplog.text)
    # Zero is never, as the kernel has it.
    assert await outlives_a_deaf_peer(ca, 0, transport)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this platform cannot end what does not move")
async def test_both_ends_give_up_what_does_not_move(ca: ThrowawayCa) -> None:
    async with stream_pair(ca, TlsStream) as (client, server):
        for stream in (client, server):
            assert isinstance(stream, TlsStream)
            assert stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
            assert stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_address_in_use_is_raised(ca: ThrowawayCa) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await serve_tls(
                EchoService(),  # type: ignore[arg-type]
                host=HOST,
                port=taken.getsockname()[1],
                context=ca.server_context(ca.issue(SERVER_NAME)),
            )


def test_faults_of_the_peer_are_told_from_bugs() -> None:
    assert is_peer_fault(TlsAlertError("x"))
    assert is_peer_fault(ExceptionGroup("", [ConnectionResetError(), LinkLostError()]))
    assert not is_peer_fault(ExceptionGroup("", [ConnectionResetError(), KeyError()]))
    assert not is_peer_fault(FileNotFoundError())
