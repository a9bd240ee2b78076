"""VLESS over REALITY, between a device and a node in memory: everything but the sockets is real."""

from __future__ import annotations

import contextlib
import ssl

import pytest
import trio
import trio.testing

from pharos.wire.errors import RemoteProtocolError, TruncatedError
from pharos.wire.reality.accounts import Account, Accounts
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.dial import start_reality
from pharos.wire.reality.socks import parse_datagram, render_datagram
from pharos.wire.reality.stream import RealityStream
from pharos.wire.reality.vless import Command, Flow, Request
from pharos.wire.reality.vlessstream import SLICE, VlessStream, receive_request, request_over
from pharos.wire.reality.vlessudp import FixedEnd, VlessDatagrams
from pharos.wire.reality.xudp import Datagram, XudpEnd
from tests.support.reality import NOW, accept, seeded, settings
from tests.wire.reality.fronts import (
    HOST,
    DirectTunnel,
    receive_all,
    receive_exactly,
    running_socks,
    running_target,
    running_udp_echo,
)
from tests.wire.reality.proxied import OTHER_ID, TARGET, USER_ID, contexts, data_record, hello
from tests.wire.reality.test_socksserver import associate, dial

PLAIN = Account(name="plain", user_id=OTHER_ID, flow=Flow.NONE)
VISION = Account(name="vision", user_id=USER_ID)
ACCOUNTS = Accounts([PLAIN, VISION])


def request_of(account: Account, command: Command = Command.TCP, target: Address | None = TARGET) -> Request:
    target = None if command is Command.MUX else target
    return Request(user_id=account.user_id, command=command, target=target, flow=account.flow)


async def shake_hands(near, far) -> tuple[RealityStream, RealityStream]:
    found = {}

    async def device():
        found["device"] = await start_reality(near, settings(), now=NOW, random=seeded())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(device)
        found["node"] = await accept(far)
    return found["device"], found["node"]


async def meet(account: Account, command: Command = Command.TCP) -> tuple[VlessStream, VlessStream]:
    """Return client's and server's stream, with request and response behind them."""
    device, node = await shake_hands(*trio.testing.memory_stream_pair())
    client = request_over(device, request_of(account, command), random=seeded())
    await client.send_all(b"?")
    received, server = await receive_request(node, ACCOUNTS, random=seeded())
    assert received.account is account
    assert received.request == request_of(account, command)
    assert await server.receive_some() == b"?"
    await server.send_all(b"!")
    assert await client.receive_some() == b"!"
    return client, server


@contextlib.asynccontextmanager
async def pair(account: Account, command: Command = Command.TCP):
    client, server = await meet(account, command)
    async with client, server:
        yield client, server


@pytest.mark.parametrize("account", [PLAIN, VISION], ids=lambda account: account.name)
async def test_it_keeps_trio_s_contract_of_a_stream_with_two_ends(account, autojump_clock):
    await trio.testing.check_half_closeable_stream(lambda: meet(account), None)


@pytest.mark.parametrize("account", [PLAIN, VISION], ids=lambda account: account.name)
async def test_a_large_buffer_arrives_whole_and_in_order(account):
    data = bytes(range(256)) * (3 * SLICE // 256) + b"tail"
    async with pair(account) as (client, server), trio.open_nursery() as nursery:
        for sender, receiver in ((client, server), (server, client)):
            nursery.start_soon(sender.send_all, data)
            assert await receive_exactly(receiver, len(data)) == data


async def test_each_direction_leaves_the_outer_tls_and_ends_on_its_own():
    async with pair(VISION) as (client, server):
        await client.send_all(hello(1))
        await server.send_all(hello(2))
        assert await receive_exactly(server, len(hello(1))) == hello(1)
        assert await receive_exactly(client, len(hello(2))) == hello(2)
        # The last sealed record and what follows it raw come out of one receiving of the transport.
        await client.send_all(data_record(100))
        await client.send_all(b"raw")
        await client.send_all(bytes(3 * SLICE))
        assert client.session.sends_raw
        expected = data_record(100) + b"raw" + bytes(3 * SLICE)
        assert await receive_exactly(server, len(expected)) == expected
        assert not server.session.sends_raw
        await client.send_eof()
        assert await server.receive_some() == b""
        # The other way is sealed still, and ends so.
        await server.send_all(b"sealed")
        await server.send_eof()
        assert await receive_all(client) == b"sealed"


async def test_a_direction_that_is_raw_says_nothing_of_tls_when_it_ends():
    async with pair(VISION) as (client, server):
        await client.send_all(hello(1))
        await receive_exactly(server, len(hello(1)))
        await server.send_all(hello(2))
        await receive_exactly(client, len(hello(2)))
        await client.send_all(data_record(9))
        await receive_exactly(server, len(data_record(9)))
        await client.aclose()
        # A close_notify would come out as payload.
        assert await receive_all(server) == b""


async def test_a_request_without_payload_goes_after_half_a_second_of_receiving(autojump_clock):
    for account in (PLAIN, VISION):
        device, node = await shake_hands(*trio.testing.memory_stream_pair())
        async with request_over(device, request_of(account), random=seeded()) as client, node:
            start = trio.current_time()

            async def speak_first(node=node, start=start):
                _, server = await receive_request(node, ACCOUNTS, random=seeded())
                assert trio.current_time() - start == pytest.approx(0.5)
                await server.send_all(b"220 ready")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(speak_first)
                assert await client.receive_some() == b"220 ready"


async def test_payload_and_a_waiting_receiver_do_not_get_into_each_others_way(autojump_clock):
    device, node = await shake_hands(*trio.testing.memory_stream_pair())
    async with request_over(device, request_of(VISION), random=seeded()) as client, node:
        got = []

        async def receive():
            got.append(await client.receive_some())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.sleep(0.4)
            await client.send_all(b"hello")
            await client.send_eof()
            _, server = await receive_request(node, ACCOUNTS, random=seeded())
            assert await receive_all(server) == b"hello"
            await trio.sleep(0.4)
            await server.send_all(b"answer")
        assert got == [b"answer"]


async def test_a_stranger_gets_nothing_and_the_server_knows_why():
    device, node = await shake_hands(*trio.testing.memory_stream_pair())
    stranger = Account(name="stranger", user_id=bytes(16))
    async with request_over(device, request_of(stranger), random=seeded()) as client:
        await client.send_all(b"hello")
        async with node:
            with pytest.raises(RemoteProtocolError, match="nobody has that user id"):
                await receive_request(node, ACCOUNTS)
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert isinstance(client.failure, TruncatedError)


async def test_a_client_that_says_nothing_is_told_from_one_that_asks():
    device, node = await shake_hands(*trio.testing.memory_stream_pair())
    async with node:
        await device.aclose()
        with pytest.raises(TruncatedError):
            await receive_request(node, ACCOUNTS)


async def test_a_peer_that_breaks_vision_breaks_the_stream_and_says_why():
    async with pair(VISION) as (client, server):
        await server.outer.send_all(b"\x09\0\0\0\0")
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()
        assert "no command 9" in str(client.failure)


async def test_after_a_cancelled_send_only_closing_is_left(autojump_clock):
    device, _node = await shake_hands(*trio.testing.memory_stream_pair())
    # Sending waits until the other end receives, which nobody does.
    near, _far = trio.testing.lockstep_stream_pair()
    async with request_over(RealityStream(near, device.connection), request_of(VISION), random=seeded()) as client:
        with trio.move_on_after(1) as scope:
            await client.send_all(b"lost")
        assert scope.cancelled_caught
        with pytest.raises(trio.BrokenResourceError, match="in the middle of sending"):
            await client.send_all(b"more")
        with pytest.raises(trio.BrokenResourceError, match="in the middle of sending"):
            await client.send_eof()


@pytest.mark.parametrize("account", [PLAIN, VISION], ids=lambda account: account.name)
async def test_datagrams_go_both_ways_by_xudp(account):
    async with pair(account, Command.MUX) as (client, server):
        near = VlessDatagrams(client, XudpEnd(client=True, global_id=b"12345678"))
        far = VlessDatagrams(server, XudpEnd(client=False))
        for number in range(20):
            question = Datagram(Address(f"192.0.2.{number + 1}", 53), bytes(number))
            await near.send_datagram(question)
            assert await far.receive_datagram() == question
            await far.send_datagram(question)
            assert await near.receive_datagram() == question
        await near.send_datagram(Datagram(TARGET, bytes(9000)))
        await near.send_datagram(Datagram(TARGET, b"the long one is lost"))
        assert (await far.receive_datagram()).data == b"the long one is lost"
        await near.aclose()
        with pytest.raises(trio.BrokenResourceError, match="has ended"):
            await far.receive_datagram()


async def test_datagrams_of_the_command_udp_go_to_its_one_target():
    async with pair(PLAIN, Command.UDP) as (client, server):
        near, far = VlessDatagrams(client, FixedEnd(TARGET)), VlessDatagrams(server, FixedEnd(TARGET))
        for data in (b"a", b"", bytes(8000)):
            await near.send_datagram(Datagram(TARGET, data))
            assert await far.receive_datagram() == Datagram(TARGET, data)
        await client.send_all(b"\0\x09cut")
        await client.send_eof()
        with pytest.raises(trio.BrokenResourceError, match="inside a datagram"):
            await far.receive_datagram()


@contextlib.asynccontextmanager
async def running_node(streams: list[VlessStream]):
    """Run a node on loopback that goes to any target, and yield what dials it."""

    async def serve(transport):
        node = await accept(transport)
        async with node:
            received, stream = await receive_request(node, ACCOUNTS)
            streams.append(stream)
            if received.request.command is Command.MUX:
                far = VlessDatagrams(stream, XudpEnd(client=False))
                async with DirectTunnel() as sockets, trio.open_nursery() as nursery:
                    nursery.start_soon(carry_datagrams, sockets, far)
                    await carry_datagrams(far, sockets)
                    nursery.cancel_scope.cancel()
            else:
                upstream = await trio.open_tcp_stream(received.request.target.host, received.request.target.port)
                async with upstream, trio.open_nursery() as nursery:
                    nursery.start_soon(carry, upstream, stream)
                    await carry(stream, upstream)

    async with running_target(serve) as target:

        async def dial_node(account, command=Command.TCP, to=None):
            transport = await trio.open_tcp_stream(HOST, target.port)
            device = await start_reality(transport, settings(), now=NOW)
            return request_over(device, request_of(account, command, to))

        yield dial_node


async def carry(source, sink):
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async for data in source:
            await sink.send_all(data)
        await sink.send_eof()


async def carry_datagrams(source, sink):
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:
            await sink.send_datagram(await source.receive_datagram())


@pytest.mark.parametrize("account", [PLAIN, VISION], ids=lambda account: account.name)
async def test_a_program_reaches_a_tls_server_through_socks_reality_and_vless(account):
    server_context, client_context = contexts(ssl.TLSVersion.TLSv1_3)
    answer = b"answer " * 100_000
    streams: list[VlessStream] = []

    async def serve(transport):
        async with trio.SSLStream(transport, server_context, server_side=True, https_compatible=True) as stream:
            for _ in range(2):
                await stream.send_all(await receive_exactly(stream, 5))
            await stream.send_all(answer)

    async with running_target(serve) as target, running_node(streams) as dial_node:

        async def open_tcp(host, port):
            return await dial_node(account, Command.TCP, Address(host, port))

        async with running_socks(open_tcp=open_tcp) as proxy:
            stream = trio.SSLStream(
                await dial(proxy, target.port), client_context, server_hostname="localhost", https_compatible=True
            )
            for _ in range(2):
                await stream.send_all(b"hello")
                assert await receive_exactly(stream, 5) == b"hello"
            assert await receive_exactly(stream, len(answer)) == answer
            assert await receive_all(stream) == b""
    raw = account is VISION
    assert (streams[0].session.sends_raw, streams[0].session.receives_raw) == (raw, raw)


async def test_a_program_s_datagrams_go_through_socks_reality_and_xudp():
    streams: list[VlessStream] = []
    async with running_node(streams) as dial_node, running_udp_echo() as one, running_udp_echo() as other:

        async def open_udp():
            return VlessDatagrams(await dial_node(VISION, Command.MUX), XudpEnd(client=True))

        async with running_socks(open_udp=open_udp) as proxy:
            _stream, at = await associate(proxy)
            sock = await proxy.udp()
            for target, data in ((one, b"a"), (other, b"b"), (one, bytes(1300))):
                await sock.sendto(render_datagram(Datagram(target, data)), (at.host, at.port))
                assert parse_datagram(await sock.recv(65535)) == Datagram(target, b"E" + data)
    assert len(streams) == 1
