from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address

import pytest
import trio
import trio.testing

from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.netstack.stack import Netstack, open_netstack
from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcpstream import NetstackStream
from tests.wire.awg.netstack.nameserver import NameServer, serving
from tests.wire.awg.netstack.stacks import FAR, FAR4, FAR6, NEAR, open_pair, open_streams

BOTH = pytest.mark.parametrize("host", [FAR4, FAR6])


@asynccontextmanager
async def stream_maker(*, send_buffer: int | None = None) -> AsyncIterator[object]:
    """Give a function that makes pairs of streams, as Trio's checks of streams want it."""
    async with AsyncExitStack() as stack:
        near_end, far_end = memory_link()
        near = await stack.enter_async_context(open_netstack(near_end, addresses=NEAR))
        far = await stack.enter_async_context(open_netstack(far_end, addresses=FAR))
        if send_buffer is not None:
            for netstack in (near, far):
                netstack._tcp.config = TcpConfig(
                    send_buffer=send_buffer, receive_buffer=send_buffer, receive_window=send_buffer
                )
        nursery = await stack.enter_async_context(trio.open_nursery())
        sender, receiver = trio.open_memory_channel[NetstackStream](0)

        async def keep(stream: NetstackStream) -> None:
            await sender.send(stream)
            await trio.sleep_forever()

        port = await nursery.start(far.serve_tcp, 0, keep)

        async def make() -> tuple[NetstackStream, NetstackStream]:
            return await near.open_tcp_stream(FAR4, port), await receiver.receive()

        yield make
        nursery.cancel_scope.cancel()


async def test_a_stream_behaves_as_trio_wants_it():
    with trio.fail_after(60):
        async with stream_maker() as make, stream_maker(send_buffer=4096) as make_small:

            async def clogged() -> tuple[NetstackStream, NetstackStream]:
                left, right = await make_small()
                for stream in (left, right):
                    while room := stream._connection.writable:
                        await stream.send_all(bytes(room))
                        with trio.move_on_after(0.01):
                            await stream.wait_send_all_might_not_block()
                return left, right

            await trio.testing.check_half_closeable_stream(make, clogged)


@BOTH
async def test_octets_arrive_whole_both_ways_at_once(host: str):
    data = [random.Random(seed).randbytes(1_500_000) for seed in (1, 2)]
    with trio.fail_after(60):
        async with open_streams(host) as (near, far), trio.open_nursery() as nursery:

            async def send(stream: NetstackStream, octets: bytes) -> None:
                await stream.send_all(octets)
                await stream.send_eof()

            async def receive(stream: NetstackStream, octets: bytes) -> None:
                digest = hashlib.sha256()
                async for part in stream:
                    digest.update(part)
                assert digest.digest() == hashlib.sha256(octets).digest()

            nursery.start_soon(send, near, data[0])
            nursery.start_soon(send, far, data[1])
            nursery.start_soon(receive, near, data[1])
            nursery.start_soon(receive, far, data[0])


@pytest.mark.parametrize("seed", range(4))
async def test_octets_arrive_whole_over_a_line_that_loses_and_repeats_and_reorders(
    seed: int, autojump_clock: trio.testing.MockClock
):
    data = random.Random(seed).randbytes(400_000)
    with trio.fail_after(600):
        async with open_streams(loss=0.05, seed=seed) as (near, far), trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                await near.send_all(data)
                await near.send_eof()

            assert b"".join([part async for part in far]) == data


async def test_what_was_sent_before_closing_arrives():
    with trio.fail_after(10):
        async with open_streams() as (near, far):
            await near.send_all(bytes(200_000))
            await near.aclose()
            assert sum([len(part) async for part in far]) == 200_000


async def test_the_block_of_a_stack_ends_when_what_was_sent_has_arrived(autojump_clock: trio.testing.MockClock):
    near_end, far_end = memory_link()
    got = bytearray()
    done = trio.Event()
    with trio.fail_after(10):
        async with open_netstack(far_end, addresses=FAR) as far, trio.open_nursery() as nursery:

            async def take(stream: NetstackStream) -> None:
                async for part in stream:
                    got.extend(part)
                done.set()

            port = await nursery.start(far.serve_tcp, 0, take)
            async with open_netstack(near_end, addresses=NEAR) as near:
                async with await near.open_tcp_stream(FAR4, port) as stream:
                    await stream.send_all(bytes(300_000))
            await done.wait()
            nursery.cancel_scope.cancel()
    assert len(got) == 300_000


async def test_a_stack_that_is_cancelled_resets_what_is_open():
    near_end, far_end = memory_link()
    failed = trio.Event()
    with trio.fail_after(10):
        async with open_netstack(far_end, addresses=FAR) as far, trio.open_nursery() as nursery:

            async def wait_for_reset(stream: NetstackStream) -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
                failed.set()

            port = await nursery.start(far.serve_tcp, 0, wait_for_reset)
            with trio.CancelScope() as scope:
                async with open_netstack(near_end, addresses=NEAR) as near:
                    stream = await near.open_tcp_stream(FAR4, port)
                    scope.cancel()
                    await trio.sleep_forever()
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"x")
            await failed.wait()
            nursery.cancel_scope.cancel()


async def test_a_port_that_nobody_serves_refuses():
    with trio.fail_after(10):
        async with open_pair() as pair:
            for host in (FAR4, FAR6):
                with pytest.raises(ConnectionRefusedError):
                    await pair.near.open_tcp_stream(host, 9)


async def test_a_peer_that_is_silent_times_out(autojump_clock: trio.testing.MockClock):
    async with open_pair(far_sends=lambda packets: []) as pair:
        with pytest.raises(TimeoutError):
            await pair.near.open_tcp_stream(FAR4, 80)


async def test_a_dial_that_is_cancelled_leaves_nothing(autojump_clock: trio.testing.MockClock):
    async with open_pair(far_sends=lambda packets: []) as pair:
        with trio.move_on_after(3):
            await pair.near.open_tcp_stream(FAR4, 80)
        assert len(pair.near._tcp) == 0


async def test_a_version_that_the_tunnel_has_not_is_an_error():
    near_end, _ = memory_link()
    async with open_netstack(near_end, addresses=NEAR[:1]) as near:
        with pytest.raises(OSError, match="no IPv6"):
            await near.open_tcp_stream(FAR6, 80)


async def test_the_end_of_the_link_breaks_what_is_open_and_what_is_opened():
    with trio.fail_after(10):
        async with open_pair() as pair, trio.open_nursery() as nursery:

            async def keep(stream: NetstackStream) -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()

            port = await nursery.start(pair.far.serve_tcp, 0, keep)
            stream = await pair.near.open_tcp_stream(FAR4, port)

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
                with pytest.raises(trio.BrokenResourceError):
                    await pair.near.open_tcp_stream(FAR4, port)
                with pytest.raises(trio.BrokenResourceError):
                    await pair.near.open_udp()
                nursery.cancel_scope.cancel()

            await trio.testing.wait_all_tasks_blocked()
            pair.near_end.close()


async def test_a_reader_that_does_not_read_holds_the_writer_back(autojump_clock: trio.testing.MockClock):
    with trio.fail_after(30):
        async with open_streams() as (near, far):
            sent = 0
            with trio.move_on_after(0.5):
                while True:
                    await near.send_all(bytes(64 * 1024))
                    sent += 64 * 1024
            assert sent < 20_000_000
            with trio.move_on_after(0.1):
                await near.send_all(bytes(64 * 1024))
            left = near._connection.unsent + far._connection.readable
            assert left >= sent


async def test_an_abort_is_a_reset_for_the_other_end():
    with trio.fail_after(10):
        async with open_streams() as (near, far):
            near.abort()
            with pytest.raises(trio.BrokenResourceError):
                await far.receive_some()
            with pytest.raises(trio.ClosedResourceError):
                await near.receive_some()


async def test_a_served_port_is_taken_until_the_serving_ends():
    async with open_pair() as pair:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(pair.far.serve_tcp, 0, _ignore)
            with pytest.raises(OSError, match="is taken"):
                await pair.far.serve_tcp(port, _ignore)
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            assert await nursery.start(pair.far.serve_tcp, port, _ignore) == port
            nursery.cancel_scope.cancel()


async def _ignore(stream: NetstackStream) -> None:
    pass


async def test_data_and_end_that_come_with_the_last_step_of_the_handshake_are_read():
    with trio.fail_after(10):
        async with open_pair() as pair, trio.open_nursery() as nursery:
            came = trio.Event()

            async def read(stream: NetstackStream) -> None:
                assert b"".join([part async for part in stream]) == b"all at once"
                came.set()

            port = await nursery.start(pair.far.serve_tcp, 0, read)
            stream = await pair.near.open_tcp_stream(FAR4, port)
            await stream.send_all(b"all at once")
            await stream.send_eof()
            await came.wait()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("port", [0, 65536, -1])
async def test_what_is_no_port_is_misuse(port: int):
    async with open_pair() as pair:
        with pytest.raises(ValueError, match="not a port"):
            await pair.near.open_tcp_stream(FAR4, port)


async def test_every_connection_is_forgotten_when_its_time_is_over(autojump_clock: trio.testing.MockClock):
    netstacks: list[Netstack] = []
    async with open_pair() as pair, trio.open_nursery() as nursery:
        netstacks += [pair.near, pair.far]
        port = await nursery.start(pair.far.serve_tcp, 0, _ignore)
        for _ in range(20):
            async with await pair.near.open_tcp_stream(FAR4, port) as stream:
                assert await stream.receive_some() == b""
        assert any(len(netstack._tcp) for netstack in netstacks)
        await trio.sleep(130)
        assert [len(netstack._tcp) for netstack in netstacks] == [0, 0]
        assert all(len(netstack._tcp._deadlines) < 20 for netstack in netstacks)
        nursery.cancel_scope.cancel()


async def test_a_stream_goes_on_at_once_when_another_leg_carries_its_packets(autojump_clock: trio.testing.MockClock):
    cut = False

    def pass_on(packets: list[bytes]) -> list[bytes]:
        return [] if cut else packets

    data = random.Random(1).randbytes(2_000_000)
    async with open_pair(near_sends=pass_on, far_sends=pass_on) as pair, trio.open_nursery() as nursery:
        received = bytearray()
        done = trio.Event()

        async def take(stream: NetstackStream) -> None:
            nonlocal cut
            async for part in stream:
                received.extend(part)
                if len(received) == len(part):
                    cut = True
            done.set()

        port = await nursery.start(pair.far.serve_tcp, 0, take)
        stream = await pair.near.open_tcp_stream(FAR4, port)

        @nursery.start_soon
        async def _() -> None:
            await stream.send_all(data)
            await stream.send_eof()

        await trio.sleep(20)
        assert len(received) < len(data)
        cut = False
        begin = trio.current_time()
        pair.near.path_changed()
        await done.wait()
        assert received == data
        # Left alone, it would have waited for a timer that had backed off to half a minute.
        assert trio.current_time() - begin < 1
        nursery.cancel_scope.cancel()


async def test_many_connections_at_once_are_served_each(autojump_clock: trio.testing.MockClock):
    async with open_pair() as pair, trio.open_nursery() as nursery:

        async def echo(stream: NetstackStream) -> None:
            async for part in stream:
                await stream.send_all(part)

        port = await nursery.start(pair.far.serve_tcp, 0, echo)

        async def ask(number: int) -> None:
            data = number.to_bytes(2, "big") * 5000
            async with await pair.near.open_tcp_stream(FAR4 if number % 2 else FAR6, port) as stream:
                await stream.send_all(data)
                await stream.send_eof()
                assert b"".join([part async for part in stream]) == data

        async with trio.open_nursery() as asking:
            for number in range(300):
                asking.start_soon(ask, number)
        nursery.cancel_scope.cancel()


async def test_a_dial_by_name_that_is_cancelled_leaves_nothing(autojump_clock: trio.testing.MockClock):
    async with open_pair(far_sends=lambda packets: []) as pair:
        for seconds in (0, 0.5, 1.5):
            with trio.move_on_after(seconds) as scope:
                await pair.near.open_tcp_stream("host.example", 80)
            assert scope.cancelled_caught
            assert not pair.near._sockets
            assert not pair.near.resolver._asked
        with trio.move_on_after(1):
            await pair.near.ping(FAR4, count=100)
        assert not pair.near._pings


async def test_a_name_is_dialled_at_its_other_address_when_the_first_is_silent(autojump_clock: trio.testing.MockClock):
    def drop_six(packets: list[bytes]) -> list[bytes]:
        return [packet for packet in packets if packet[0] >> 4 == 4 or packet[6] != 6]

    server = NameServer({("host.example", "A"): (60, [FAR4]), ("host.example", "AAAA"): (60, ["2001:db8::9", FAR6])})
    async with open_pair(near_sends=drop_six) as pair, serving(server, pair.far), trio.open_nursery() as nursery:
        pair.near._versions = (6, 4)
        port = await nursery.start(pair.far.serve_tcp, 0, _ignore)
        begin = trio.current_time()
        async with await pair.near.open_tcp_stream("host.example", port) as stream:
            assert stream.remote == (ip_address(FAR4).packed, port)
        assert trio.current_time() - begin < 1
        nursery.cancel_scope.cancel()
