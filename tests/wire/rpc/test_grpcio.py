"""Interoperation with grpcio, both ways, over mTLS."""

import itertools
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import attrs
import grpc
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.wire.gen.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from pharos.wire.rpc.client import open_channel
from pharos.wire.rpc.health import Health
from pharos.wire.rpc.server import Service
from pharos.wire.rpc.status import ConnectionLostError
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Event, Ping, Pong, WatchRequest
from tests.support.rpc import HOST, NOT_FOUND, SERVER_NAME, SLEEP, EchoService, ThrowawayCa, dial, running_server

ECHO = "/pharos_test.v1.Echo/"
TARGET = ("grpc.ssl_target_name_override", SERVER_NAME)


@contextmanager
def grpcio_channel(ca: ThrowawayCa, address: tuple[str, int]) -> Iterator[grpc.Channel]:
    pems = ca.issue("client.test")
    credentials = grpc.ssl_channel_credentials(ca.certificate, pems.key, pems.certificate)
    with grpc.secure_channel(f"{address[0]}:{address[1]}", credentials, [TARGET]) as channel:
        yield channel


def call_everything(ca: ThrowawayCa, address: tuple[str, int]) -> None:
    """What a grpcio client makes of our server; runs in a thread of its own."""
    with grpcio_channel(ca, address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        assert check(HealthCheckRequest(), timeout=10).status == HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as unknown:
            check(HealthCheckRequest(service="nobody"), timeout=10)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND

        pings = {"request_serializer": Ping.SerializeToString, "response_deserializer": Pong.FromString}
        echo: Any = channel.unary_unary(ECHO + "Echo", **pings)
        pong, call = echo.with_call(Ping(seq=1, payload=b"p" * 900_000), timeout=10, metadata=[("a-bin", b"\0\xff")])
        assert len(pong.payload) == 900_000
        assert dict(call.initial_metadata())["blob-bin"] == b"\x00\xff"
        assert dict(call.trailing_metadata())["trailing"] == "yes"
        with pytest.raises(grpc.RpcError) as missing:
            echo(Ping(seq=NOT_FOUND), timeout=10)
        assert (missing.value.code(), missing.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing: é")
        with pytest.raises(grpc.RpcError) as late:
            echo(Ping(seq=SLEEP), timeout=0.2)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(grpc.RpcError) as large:
            echo(Ping(payload=b"p" * 1_100_000), timeout=10)
        assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.RpcError) as compressed:
            echo(Ping(payload=b"p" * 10_000), timeout=10, compression=grpc.Compression.Gzip)
        assert compressed.value.code() is grpc.StatusCode.UNIMPLEMENTED

        watch = channel.unary_stream(
            ECHO + "Watch",
            request_serializer=WatchRequest.SerializeToString,
            response_deserializer=Event.FromString,
        )
        assert [event.seq for event in watch(WatchRequest(count=500, size=1000), timeout=10)] == list(range(500))
        endless = watch(WatchRequest(size=10))
        next(endless)
        endless.cancel()
        collect: Any = channel.stream_unary(ECHO + "Collect", **pings)
        assert collect(iter([Ping(seq=n) for n in range(10)]), timeout=10).seq == 45
        chat: Any = channel.stream_stream(ECHO + "Chat", **pings)
        answers = [pong.seq for pong in chat(iter([Ping(seq=n) for n in range(3)]), timeout=10)]
        assert answers == [0, 2, 4, 999]


async def test_grpcio_client_calls_our_server() -> None:
    ca, service = ThrowawayCa(), EchoService()
    async with running_server(Service([service, Health()]), ca) as address:
        await trio.to_thread.run_sync(call_everything, ca, address)
        await service.wait_idle()
        # The deadline's handler and that of the stream it left.
        assert service.cancelled == 2


def watch_health(ca: ThrowawayCa, address: tuple[str, int], seen: list[int], first_seen: Any) -> None:
    with grpcio_channel(ca, address) as channel:
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        for answer in watch(HealthCheckRequest(service="buoy"), timeout=10):
            seen.append(answer.status)
            trio.from_thread.run_sync(first_seen.set)
            if answer.status == HealthCheckResponse.NOT_SERVING:
                return


async def test_grpcio_client_watches_our_health() -> None:
    ca, health, seen, first_seen = ThrowawayCa(), Health(), [], trio.Event()
    health.set("buoy", serving=True)
    async with running_server(Service([health]), ca) as address, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, watch_health, ca, address, seen, first_seen)
        await first_seen.wait()
        health.set("buoy", serving=False)
    assert seen == [HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING]


class GrpcioEcho:
    """The Echo service as grpcio wants it."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        """A call of ours has ended, whichever way."""
        self.watching = threading.Event()

    def Echo(self, ping: Ping, context: grpc.ServicerContext) -> Pong:
        if ping.seq == NOT_FOUND:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: é")
        if ping.seq == SLEEP:
            while context.is_active():
                self.stopped.wait(0.01)
        context.send_initial_metadata([("seen", dict(context.invocation_metadata()).get("colour", ""))])
        context.set_trailing_metadata([("blob-bin", b"\0\xff")])
        return Pong(seq=ping.seq, payload=ping.payload)

    def Watch(self, request: WatchRequest, context: grpc.ServicerContext) -> Iterator[Event]:
        context.add_callback(self.stopped.set)
        self.watching.set()
        for number in range(request.count) if request.count else itertools.count():
            yield Event(seq=number, body=b"z" * request.size)

    def Collect(self, pings: Iterator[Ping], context: grpc.ServicerContext) -> Pong:
        return Pong(seq=sum(ping.seq for ping in pings))

    def Chat(self, pings: Iterator[Ping], context: grpc.ServicerContext) -> Iterator[Pong]:
        for ping in pings:
            yield Pong(seq=ping.seq * 2)
        yield Pong(seq=999)


@attrs.frozen
class GrpcioServer:
    """A grpcio server that runs in threads of its own."""

    address: tuple[str, int]
    echo: GrpcioEcho
    server: grpc.Server


@contextmanager
def grpcio_server(ca: ThrowawayCa) -> Iterator[GrpcioServer]:
    echo = GrpcioEcho()
    to, of = Pong.SerializeToString, Ping.FromString
    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo.Echo, of, to),
        "Watch": grpc.unary_stream_rpc_method_handler(echo.Watch, WatchRequest.FromString, Event.SerializeToString),
        "Collect": grpc.stream_unary_rpc_method_handler(echo.Collect, of, to),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.Chat, of, to),
    }
    pool = futures.ThreadPoolExecutor(4)
    server = grpc.server(pool)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("pharos_test.v1.Echo", methods),))
    pems = ca.issue(SERVER_NAME)
    credentials = grpc.ssl_server_credentials([(pems.key, pems.certificate)], ca.certificate, True)  # noqa: FBT003
    port = server.add_secure_port(f"{HOST}:0", credentials)
    server.start()
    try:
        yield GrpcioServer((HOST, port), echo, server)
    finally:
        server.stop(0).wait()
        pool.shutdown()


async def test_our_client_calls_a_grpcio_server() -> None:
    ca = ThrowawayCa()
    with grpcio_server(ca) as theirs:
        async with open_channel(await dial(ca, theirs.address), authority=SERVER_NAME) as channel:
            stub = EchoStub(channel)
            async with stub.Echo.open(metadata={"colour": "blue"}) as call:
                await call.send_message(Ping(seq=1, payload=b"p" * 900_000), end=True)
                pong = await call.recv_message()
                assert pong is not None
                assert len(pong.payload) == 900_000
                await call.recv_trailing_metadata()
            assert dict(call.initial_metadata or {}) == {"seen": "blue"}
            assert dict(call.trailing_metadata or {}) == {"blob-bin": b"\0\xff"}
            with pytest.raises(GRPCError) as missing:
                await stub.Echo(Ping(seq=NOT_FOUND))
            assert (missing.value.status, missing.value.message) == (Status.NOT_FOUND, "no such thing: é")
            with pytest.raises(GRPCError) as late:
                await stub.Echo(Ping(seq=SLEEP), timeout=0.2)
            assert late.value.status is Status.DEADLINE_EXCEEDED
            events = await stub.Watch(WatchRequest(count=500, size=1000))
            assert [event.seq for event in events] == list(range(500))
            assert (await stub.Collect([Ping(seq=n) for n in range(10)])).seq == 45
            assert [pong.seq for pong in await stub.Chat([Ping(seq=n) for n in range(3)])] == [0, 2, 4, 999]
            for seq in range(100, 300):
                assert (await stub.Echo(Ping(seq=seq), timeout=5)).seq == seq


async def test_grpcio_server_hears_that_our_client_leaves() -> None:
    ca = ThrowawayCa()
    with grpcio_server(ca) as theirs:
        async with open_channel(await dial(ca, theirs.address), authority=SERVER_NAME) as channel:
            stub = EchoStub(channel)
            async with stub.Watch.open() as watch:
                await watch.send_message(WatchRequest(size=10), end=True)
                assert (await watch.recv_message()) is not None
                await watch.cancel()
            assert await trio.to_thread.run_sync(theirs.echo.stopped.wait, 10)
            # The connection lives on.
            assert (await stub.Echo(Ping(seq=1), timeout=5)).seq == 1


async def test_message_of_a_grpcio_server_that_is_too_large_is_refused() -> None:
    ca = ThrowawayCa()
    with grpcio_server(ca) as theirs:
        async with open_channel(await dial(ca, theirs.address), authority=SERVER_NAME) as channel:
            stub = EchoStub(channel)
            with pytest.raises(GRPCError) as large:
                await stub.Watch(WatchRequest(count=1, size=1_100_000))
            assert large.value.status is Status.RESOURCE_EXHAUSTED
            assert (await stub.Echo(Ping(seq=1), timeout=5)).seq == 1


async def test_call_in_progress_outlives_the_goodbye_of_a_grpcio_server() -> None:
    ca = ThrowawayCa()
    with grpcio_server(ca) as theirs:
        async with open_channel(await dial(ca, theirs.address), authority=SERVER_NAME) as channel:
            stub = EchoStub(channel)
            async with stub.Chat.open() as chat:
                await chat.send_message(Ping(seq=1))
                assert (await chat.recv_message()) == Pong(seq=2)
                ended = theirs.server.stop(grace=10)
                # A new call is turned away, by the server or, once its goodbye has arrived, by ourselves.
                with trio.fail_after(10), pytest.raises((GRPCError, ConnectionLostError)):
                    while True:
                        await stub.Echo(Ping(seq=1))
                await chat.send_message(Ping(seq=2), end=True)
                assert [pong.seq async for pong in chat] == [4, 999]
            assert await trio.to_thread.run_sync(ended.wait, 10)


async def test_many_calls_at_once_to_a_grpcio_server() -> None:
    ca = ThrowawayCa()
    answered: list[int] = []
    with grpcio_server(ca) as theirs:
        async with open_channel(await dial(ca, theirs.address), authority=SERVER_NAME) as channel:
            stub = EchoStub(channel)

            async def call(seq: int) -> None:
                answered.append((await stub.Echo(Ping(seq=seq, payload=bytes(10_000)), timeout=30)).seq)

            async with trio.open_nursery() as nursery:
                for seq in range(1_000, 1_300):
                    nursery.start_soon(call, seq)
    assert sorted(answered) == list(range(1_000, 1_300))
