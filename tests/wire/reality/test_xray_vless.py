import contextlib

import pytest
import trio

from pharos.wire.errors import TruncatedError
from pharos.wire.reality.accounts import Account, Accounts
from pharos.wire.reality.addresses import SOCKS, Address
from pharos.wire.reality.datagrams import DatagramReader
from pharos.wire.reality.datagrams import render_datagram as render_vless_datagram
from pharos.wire.reality.dial import open_reality
from pharos.wire.reality.session import (
    ClientSession,
    PayloadReceived,
    RawFollows,
    RequestReceived,
    ResponseReceived,
    ServerSession,
)
from pharos.wire.reality.socks import parse_datagram, render_datagram
from pharos.wire.reality.vless import Command, Flow, Request
from pharos.wire.reality.vlessstream import request_over
from pharos.wire.reality.vlessudp import VlessDatagrams
from pharos.wire.reality.xudp import Datagram, XudpEnd
from tests.support.reality import settings
from tests.support.xray import needs_xray, running_xray
from tests.wire.reality.fronts import HOST, PATIENCE, receive_exactly, running_target, running_udp_echo
from tests.wire.reality.proxied import payload_of, randomness
from tests.wire.reality.xray import (
    PLAIN_ID,
    VISION_ID,
    Certificates,
    OuterTls,
    free_port,
    reality_node,
    tls_client,
    tls_server,
)

pytestmark = needs_xray

QUESTION = b"question " * 2000
ANSWER = b"answer " * 100_000


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)


@contextlib.asynccontextmanager
async def running(tmp_path, bounds):
    """Run Xray while the block lasts, which must not last for ever."""
    with trio.fail_after(PATIENCE), running_xray(tmp_path, *bounds):
        yield


async def ask(stream):
    """Say something short first: padding ends with a piece that is whole records, which one of a long answer may miss.

    The first may come together with the end of the handshake, the second comes alone.
    """
    for _ in range(2):
        await stream.send_all(b"hello")
        assert await receive_exactly(stream, 5) == b"hello"
    await stream.send_all(QUESTION)
    assert await receive_exactly(stream, len(ANSWER)) == ANSWER


async def answer(stream):
    for _ in range(2):
        assert await receive_exactly(stream, 5) == b"hello"
        await stream.send_all(b"hello")
    assert await receive_exactly(stream, len(QUESTION)) == QUESTION
    await stream.send_all(ANSWER)


async def answer_by_tls(stream, certificates):
    async with trio.SSLStream(stream, certificates.server, server_side=True, https_compatible=True) as secured:
        await answer(secured)


class Dialled(trio.abc.Stream):
    """Our client's end of one request to a real Xray, as a stream."""

    def __init__(self, outer: OuterTls, session: ClientSession) -> None:
        self.outer = outer
        self.session = session
        self.events = []

    async def send_all(self, data):
        await self.outer.send(self.session.send_data(bytes(data)))

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes=None):
        while True:
            events = await self.outer.receive(self.session)
            self.events += [event for event in events if not isinstance(event, PayloadReceived)]
            data = payload_of(events)
            if data or not events:
                return data

    async def aclose(self):
        await self.outer.stream.aclose()


async def dial(port: int, certificates: Certificates, request: Request) -> Dialled:
    outer = OuterTls(await trio.open_tcp_stream(HOST, port), certificates.client, server=False)
    await outer.handshake()
    return Dialled(outer, ClientSession(request, random=randomness(), now=trio.current_time()))


def request_of(command: Command, target: Address | None, *, vision: bool) -> Request:
    flow = Flow.VISION if vision else Flow.NONE
    return Request(user_id=VISION_ID if vision else PLAIN_ID, command=command, target=target, flow=flow)


@pytest.mark.parametrize("vision", [False, True])
@pytest.mark.parametrize("inner_tls", [False, True])
async def test_xray_s_server_serves_our_client(tmp_path, certificates, vision, inner_tls):
    port = free_port()

    async def serve(stream):
        await (answer_by_tls(stream, certificates) if inner_tls else answer(stream))

    async with running_target(serve) as target, running(tmp_path, tls_server(port, certificates)):
        request = request_of(Command.TCP, Address(HOST, target.port), vision=vision)
        async with await dial(port, certificates, request) as stream:
            inner = stream
            if inner_tls:
                inner = trio.SSLStream(stream, certificates.client, server_hostname="localhost", https_compatible=True)
            await ask(inner)
            raw = vision and inner_tls
            assert stream.events == [ResponseReceived(), *[RawFollows()] * raw]
            assert stream.session.sends_raw is raw
            assert (stream.outer.raw_octets > len(ANSWER)) is raw


async def test_a_server_that_speaks_first_is_heard_through_xray(tmp_path, certificates):
    port = free_port()

    async def serve(stream):
        await stream.send_all(b"220 ready")
        await stream.receive_some()

    async with running_target(serve) as target, running(tmp_path, tls_server(port, certificates)):
        request = request_of(Command.TCP, Address(HOST, target.port), vision=True)
        async with await dial(port, certificates, request) as stream:
            await stream.outer.send(stream.session.tick(stream.session.due))
            assert await receive_exactly(stream, 9) == b"220 ready"


async def test_xray_s_server_refuses_a_user_it_does_not_know(tmp_path, certificates):
    port = free_port()
    async with running(tmp_path, tls_server(port, certificates)):
        request = Request(user_id=bytes(16), command=Command.TCP, target=Address(HOST, 9), flow=Flow.NONE)
        async with await dial(port, certificates, request) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b""
            with pytest.raises(TruncatedError):
                stream.session.receive_end()


@pytest.mark.parametrize("vision", [False, True])
async def test_xray_s_server_carries_our_xudp(tmp_path, certificates, vision):
    port = free_port()
    async with (
        running_udp_echo() as one,
        running_udp_echo() as other,
        running(tmp_path, tls_server(port, certificates)),
        await dial(port, certificates, request_of(Command.MUX, None, vision=vision)) as stream,
    ):
        end = XudpEnd(client=True, global_id=b"12345678" if vision else bytes(8))
        for target, data in ((one, b"a"), (other, b"b"), (one, bytes(5000))):
            await stream.send_all(end.send_datagram(Datagram(target, data)))
            found = []
            while not found:
                found = end.receive_data(await stream.receive_some())
            assert found == [Datagram(target, b"E" + data)]


async def test_xray_s_server_carries_our_datagrams_without_xudp(tmp_path, certificates):
    port = free_port()
    async with running_udp_echo() as target, running(tmp_path, tls_server(port, certificates)):
        async with await dial(port, certificates, request_of(Command.UDP, target, vision=False)) as stream:
            reader = DatagramReader()
            for data in (b"a", bytes(1300)):
                await stream.send_all(render_vless_datagram(data))
                found = []
                while not found:
                    found = reader.receive_data(await stream.receive_some())
                assert found == [b"E" + data]


class Served:
    """Our server's end for one connection of a real Xray client: streams to their target, XUDP answered by echo."""

    def __init__(self, stream: trio.SocketStream, certificates: Certificates) -> None:
        accounts = Accounts(
            [
                Account(name="plain", user_id=PLAIN_ID, flow=Flow.NONE),
                Account(name="vision", user_id=VISION_ID, flow=Flow.VISION),
            ]
        )
        self.outer = OuterTls(stream, certificates.server, server=True)
        self.session = ServerSession(accounts, random=randomness())
        self.request = None

    async def run(self) -> None:
        await self.outer.handshake()
        events = await self.outer.receive(self.session)
        if not events:
            return
        received, *rest = events
        assert isinstance(received, RequestReceived)
        self.request = received.request
        if self.request.command is Command.TCP:
            await self._stream(payload_of(rest))
        else:
            await self._datagrams(payload_of(rest))

    async def _stream(self, first: bytes) -> None:
        target = self.request.target
        async with await trio.open_tcp_stream(target.host, target.port) as upstream, trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _():
                async for data in upstream:
                    await self.outer.send(self.session.send_data(bytes(data)))
                nursery.cancel_scope.cancel()

            await upstream.send_all(first)
            while events := await self.outer.receive(self.session):
                await upstream.send_all(payload_of(events))
            await upstream.send_eof()

    async def _datagrams(self, data: bytes) -> None:
        end = XudpEnd(client=False)
        while True:
            for datagram in end.receive_data(data):
                reply = end.send_datagram(Datagram(datagram.address, b"E" + datagram.data))
                await self.outer.send(self.session.send_data(reply))
            events = await self.outer.receive(self.session)
            if not events:
                return
            data = payload_of(events)


@pytest.mark.parametrize("vision", [False, True])
@pytest.mark.parametrize("inner_tls", [False, True])
async def test_xray_s_client_is_served_by_ours(tmp_path, certificates, vision, inner_tls):
    served = []

    async def serve_vless(stream):
        served.append(Served(stream, certificates))
        await served[-1].run()

    async def serve(stream):
        await (answer_by_tls(stream, certificates) if inner_tls else answer(stream))

    port = free_port()
    async with (
        running_target(serve) as target,
        running_target(serve_vless) as ours,
        running(tmp_path, tls_client(port, ours.port, certificates, vision=vision)),
    ):
        async with await trio.open_tcp_stream(HOST, port) as stream:
            await stream.send_all(b"\5\1\0\5\1\0" + SOCKS.render(Address(HOST, target.port)))
            assert (await receive_exactly(stream, 12))[:4] == b"\5\0\5\0"
            inner = stream
            if inner_tls:
                inner = trio.SSLStream(stream, certificates.client, server_hostname="localhost", https_compatible=True)
            await ask(inner)
        raw = vision and inner_tls
        assert served[-1].session.receives_raw is raw
        assert served[-1].session.sends_raw is raw


@pytest.mark.parametrize("vision", [False, True])
async def test_xray_s_client_sends_datagrams_through_ours(tmp_path, certificates, vision):
    served = []

    async def serve_vless(stream):
        served.append(Served(stream, certificates))
        await served[-1].run()

    port = free_port()
    async with (
        running_target(serve_vless) as ours,
        running(tmp_path, tls_client(port, ours.port, certificates, vision=vision)),
    ):
        async with await trio.open_tcp_stream(HOST, port) as stream:
            await stream.send_all(b"\5\1\0\5\3\0\1" + bytes(6))
            answer = await receive_exactly(stream, 12)
            found = SOCKS.parse(answer, 5)
            assert found is not None
            at, _ = found
            with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock, trio.fail_after(PATIENCE):
                for target, data in (("192.0.2.1", b"a"), ("192.0.2.2", b"b"), ("192.0.2.1", bytes(1300))):
                    datagram = Datagram(Address(target, 4433), data)
                    await sock.sendto(render_datagram(datagram), (HOST, at.port))
                    assert parse_datagram(await sock.recv(65535)) == Datagram(datagram.address, b"E" + data)
        assert served[-1].request.command is Command.MUX
        assert served[-1].request.flow is (Flow.VISION if vision else Flow.NONE)


@contextlib.asynccontextmanager
async def running_node(tmp_path, certificates):
    """Run a real node in front of a site with TLS 1.3; yield what opens a request to it over our own TLS."""

    async def serve_site(transport):
        async with trio.SSLStream(transport, certificates.server, server_side=True, https_compatible=True) as site:
            await site.receive_some()

    port = free_port()
    async with (
        running_target(serve_site) as site,
        running(tmp_path, reality_node(port, site.port)),
        contextlib.AsyncExitStack() as stack,
    ):

        async def open_request(request):
            outer = await stack.enter_async_context(open_reality(HOST, port, settings()))
            return request_over(outer, request)

        yield open_request


async def test_xray_s_node_serves_our_device_over_reality(tmp_path, certificates):
    # One node for everything: it learns its target's records for five seconds before it answers anybody.
    async with (
        running_target(answer) as plain,
        running_target(lambda stream: answer_by_tls(stream, certificates)) as secured,
        running_udp_echo() as one,
        running_udp_echo() as other,
        running_node(tmp_path, certificates) as open_request,
    ):
        for vision in (False, True):
            stream = await open_request(request_of(Command.TCP, Address(HOST, plain.port), vision=vision))
            await ask(stream)
            assert (stream.session.sends_raw, stream.session.receives_raw) == (False, False)

            stream = await open_request(request_of(Command.TCP, Address(HOST, secured.port), vision=vision))
            await ask(trio.SSLStream(stream, certificates.client, server_hostname="localhost", https_compatible=True))
            assert (stream.session.sends_raw, stream.session.receives_raw) == (vision, vision)

            tunnel = VlessDatagrams(
                await open_request(request_of(Command.MUX, None, vision=vision)), XudpEnd(client=True)
            )
            for target, data in ((one, b"a"), (other, b"b"), (one, bytes(1300))):
                await tunnel.send_datagram(Datagram(target, data))
                assert await tunnel.receive_datagram() == Datagram(target, b"E" + data)
