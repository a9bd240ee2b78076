"""Forwarding: both ways, with backpressure, and whichever end goes first. (Plain calls: tests/wire/rpc/test_calls.)"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs
import pytest
import trio
import trio.testing
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from pharos.beacon.forward import forward
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import EDGE, TUNNEL, Windows
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2core import Accept
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.server import Service
from pharos.wire.rpc.status import StreamResetError
from pharos.wire.units import KIB, MIB
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping, WatchRequest
from tests.support.rpc import SERVER_NAME, SLEEP, EchoService, request_headers, wait_released


@attrs.frozen
class Relay:
    """A relay with a tunnel, and as many devices as a test dials."""

    nursery: trio.Nursery
    up: Connection
    """The relay's end of the tunnel."""
    helm: Connection
    downs: list[Connection]

    @asynccontextmanager
    async def device(self) -> AsyncIterator[Channel]:
        device_end, relay_end = trio.testing.memory_stream_pair()

        async def hand_on(stream: H2Stream) -> None:
            await forward(stream, self.up, stream.headers or [])

        down = Connection(relay_end, client_side=False, windows=EDGE, accept=hand_on, keepalive=None)
        self.downs.append(down)
        self.nursery.start_soon(down.run)
        async with open_channel(device_end, authority=SERVER_NAME, windows=EDGE, keepalive=None) as channel:
            yield channel


@asynccontextmanager
async def running_relay(helm: Accept, windows: Windows = TUNNEL) -> AsyncIterator[Relay]:
    relay_end, helm_end = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        relay = Relay(
            nursery,
            Connection(relay_end, client_side=True, windows=windows, keepalive=None),
            Connection(helm_end, client_side=False, windows=TUNNEL, accept=helm, max_streams=500, keepalive=None),
            [],
        )
        nursery.start_soon(relay.helm.run)
        nursery.start_soon(relay.up.run)
        await relay.up.wait_up()
        yield relay
        for connection in (relay.up, *relay.downs):
            await wait_released(connection)
        nursery.cancel_scope.cancel()


async def test_loss_of_the_tunnel_before_an_answer_is_unavailable() -> None:
    service = EchoService()
    async with running_relay(Service([service])) as relay, relay.device() as channel:
        with pytest.raises(GRPCError) as caught:
            async with EchoStub(channel).Echo.open() as call:
                await call.send_message(Ping(seq=SLEEP), end=True)
                await trio.testing.wait_all_tasks_blocked()
                relay.up.close_now()
                await call.recv_message()
        assert caught.value.status is Status.UNAVAILABLE
        assert not channel.connection.closed
        # Nor is there anybody to forward the next one to.
        with pytest.raises(GRPCError) as caught:
            await EchoStub(channel).Echo(Ping(seq=1))
        assert caught.value.status is Status.UNAVAILABLE


async def test_loss_of_the_tunnel_amid_an_answer_resets_the_stream() -> None:
    service = EchoService()
    async with running_relay(Service([service])) as relay, relay.device() as channel:
        with pytest.raises(StreamResetError, match="CANCEL"):
            async with EchoStub(channel).Watch.open() as call:
                await call.send_message(WatchRequest(size=10), end=True)
                await call.recv_message()
                relay.up.close_now()
                while True:
                    await call.recv_message()
        assert not channel.connection.closed
        await service.wait_idle()
        assert service.cancelled == 1


async def test_helms_reset_reaches_the_device_with_its_reason() -> None:
    async def refuse(stream: H2Stream) -> None:
        await stream.reset(ErrorCodes.ENHANCE_YOUR_CALM)

    async with running_relay(refuse) as relay, relay.device() as channel:
        stream = channel.connection.create_stream()
        await stream.send_request(request_headers("Echo"))
        with pytest.raises(StreamResetError) as caught:
            await stream.recv_headers()
        assert caught.value.code is ErrorCodes.ENHANCE_YOUR_CALM
        stream.close()


async def test_answer_before_the_request_has_ended_stops_the_upload() -> None:
    async def answer_at_once(stream: H2Stream) -> None:
        await stream.send_headers([(":status", "200"), ("grpc-status", "8")], end_stream=True)

    async with running_relay(answer_at_once) as relay, relay.device() as channel:
        stream = channel.connection.create_stream()
        await stream.send_request(request_headers("Collect"))
        with suppress(StreamTerminatedError):
            while True:
                await stream.send_data(b"d" * 10_000)
        assert ("grpc-status", "8") in await stream.recv_headers()
        stream.close()


async def test_headers_without_data_arrive_before_the_end() -> None:
    go_on = trio.Event()

    async def slow(stream: H2Stream) -> None:
        await stream.send_headers([(":status", "200"), ("x-early", "yes")])
        await go_on.wait()
        await stream.send_headers([("grpc-status", "0")], end_stream=True)

    async with running_relay(slow) as relay, relay.device() as channel:
        stream = channel.connection.create_stream()
        await stream.send_request(request_headers("Watch"), end_stream=True)
        assert ("x-early", "yes") in await stream.recv_headers()
        go_on.set()
        assert await stream.recv_trailers() == [("grpc-status", "0")]
        stream.close()


async def test_answer_without_trailers_ends_too() -> None:
    async def bare(stream: H2Stream) -> None:
        await stream.send_headers([(":status", "200")])
        await stream.send_data(b"bare", end_stream=True)

    async with running_relay(bare) as relay, relay.device() as channel:
        stream = channel.connection.create_stream()
        await stream.send_request(request_headers("Watch"), end_stream=True)
        assert await stream.recv_data(4) == b"bare"
        assert not await stream.more()
        stream.close()


async def test_unread_answer_holds_no_more_than_three_windows() -> None:
    """Backpressure reaches from the device through the relay to helm's handler."""
    service = EchoService()
    async with running_relay(Service([service])) as relay, relay.device() as channel:
        async with EchoStub(channel).Watch.open() as call:
            await call.send_message(WatchRequest(size=1000), end=True)
            await trio.testing.wait_all_tasks_blocked()
            ahead = service.sent
            # In the device, in the relay, and on the way between.
            assert EDGE.stream <= ahead * 1000 <= 3 * EDGE.stream
            for _ in range(ahead + 200):
                await call.recv_message()
            assert service.sent > ahead
            await call.cancel()


async def test_unread_upload_holds_no_more_than_three_windows() -> None:
    async def never_read(_stream: H2Stream) -> None:
        await trio.sleep_forever()

    async with running_relay(never_read) as relay, relay.device() as channel:
        stream = channel.connection.create_stream()
        await stream.send_request(request_headers("Collect"))
        sent = 0
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def upload() -> None:
                    nonlocal sent
                    while True:
                        await stream.send_data(b"d" * 1000)
                        sent += 1000

                nursery.start_soon(upload)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert TUNNEL.stream <= sent <= 3 * TUNNEL.stream
        stream.close()


async def test_devices_that_do_not_read_leave_the_tunnel_to_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """40 x 128 KiB is more than this tunnel's connection window (passage.md §2)."""
    service, windows = EchoService(), Windows(128 * KIB, 2 * MIB)
    async with running_relay(Service([service]), windows) as relay, trio.open_nursery() as nursery:

        async def stall() -> None:
            async with relay.device() as channel, EchoStub(channel).Watch.open() as call:
                await call.send_message(WatchRequest(size=16_000), end=True)
                await trio.sleep_forever()

        for _ in range(40):
            nursery.start_soon(stall)
        await trio.testing.wait_all_tasks_blocked()
        held = sum(len(stream.buffered) for stream in relay.up.streams.values())
        assert held > windows.connection
        async with relay.device() as channel:
            with trio.fail_after(60):
                payload = b"p" * 300_000
                for _ in range(5):
                    assert (await EchoStub(channel).Echo(Ping(seq=1, payload=payload))).payload == payload
        nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint()


async def test_lost_device_cancels_helms_handler_only() -> None:
    service = EchoService()
    async with running_relay(Service([service])) as relay, relay.device() as other:
        async with relay.device() as channel:
            with pytest.raises(StreamTerminatedError):
                async with EchoStub(channel).Watch.open() as call:
                    await call.send_message(WatchRequest(interval=0.001), end=True)
                    await call.recv_message()
                    channel.close()
                    while True:
                        await call.recv_message()
        await service.wait_idle()
        assert service.cancelled == 1
        assert (await EchoStub(other).Echo(Ping(seq=1))).seq == 1


async def test_error_in_a_forwarding_task_stays_in_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An uncaught protocol error once took the whole relay down (passage.md §6)."""

    def fail(_connection: Connection) -> H2Stream:
        raise ProtocolError("h2 says no")

    async with running_relay(Service([EchoService()])) as relay, relay.device() as channel:
        with monkeypatch.context() as patch:
            patch.setattr("pharos.beacon.forward.ForwardedStream", fail)
            with pytest.raises(StreamResetError, match="INTERNAL_ERROR"):
                await EchoStub(channel).Echo(Ping(seq=1))
        assert "h2 says no" in caplog.text
        caplog.clear()
        assert (await EchoStub(channel).Echo(Ping(seq=1))).seq == 1
