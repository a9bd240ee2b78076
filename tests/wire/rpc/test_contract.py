"""What of grpclib's inside the engine stands on; grpclib is pinned, and this tells what a new one moves."""

import inspect
from importlib.metadata import version

import grpclib.client
import grpclib.server
import pytest
import trio
import trio.testing
from grpclib.const import Status
from grpclib.events import _DispatchChannelEvents, _DispatchServerEvents
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.metadata import Deadline
from grpclib.protocol import Stream as GrpclibStream

from pharos.wire.errors import LinkLostError, LocalProtocolError, PeerRejectedError, RemoteProtocolError
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.messages import TrioDeadline
from pharos.wire.rpc.status import ConnectionLostError, grpc_error
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping, WatchRequest
from tests.support.rpc import SLEEP, EchoService, over_memory


def test_grpclib_is_the_one_we_know() -> None:
    assert version("grpclib") == "0.4.9"


@pytest.mark.parametrize(
    "name",
    ["recv_headers", "recv_data", "recv_trailers", "send_request", "send_headers", "send_data", "end", "reset"],
)
def test_our_stream_has_the_coroutines_of_grpclibs(name: str) -> None:
    theirs = inspect.signature(getattr(GrpclibStream, name)).parameters
    ours = inspect.signature(getattr(H2Stream, name)).parameters
    assert inspect.iscoroutinefunction(getattr(H2Stream, name))
    assert list(theirs) == list(ours)


def test_our_stream_has_the_rest_of_grpclibs_face() -> None:
    for name in ("reset_nowait", "closable", "connection", "_transport", "headers", "trailers"):
        assert hasattr(H2Stream, name)


def test_grpclibs_streams_use_no_more_of_asyncio_than_we_replace() -> None:
    """`Wrapper` and `DeadlineWrapper`, in `__aenter__` only."""
    for stream, allowed in ((grpclib.client.Stream, {"__aenter__"}), (grpclib.server.Stream, set())):
        for name, member in inspect.getmembers(stream, inspect.isfunction):
            if name not in allowed:
                names = set(inspect.unwrap(member).__code__.co_names)
                assert not names & {"asyncio", "Wrapper", "DeadlineWrapper"}, name


def test_dispatchers_need_no_loop() -> None:
    _DispatchChannelEvents()
    _DispatchServerEvents()


async def test_deadlines_are_kept_on_trios_clock_whatever_they_were_made_of(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with over_memory([EchoService()]) as channel:
        soon, later = TrioDeadline.from_timeout(5), Deadline.from_timeout(50)
        for options, seconds in (
            ({"deadline": soon}, 5),
            ({"deadline": later}, 50),
            ({"deadline": later, "timeout": 7}, 7),
        ):
            started = trio.current_time()
            method = EchoStub(channel).Echo
            call = channel.request(method.name, method._cardinality, method.request_type, method.reply_type, **options)
            with pytest.raises(GRPCError) as caught:
                async with call:
                    await call.send_message(Ping(seq=SLEEP), end=True)
                    await call.recv_message()
            assert caught.value.status is Status.DEADLINE_EXCEEDED
            assert trio.current_time() - started == pytest.approx(
                seconds, abs=1
            )  # grpc-timeout: whole seconds above ten
            if seconds == 5:
                later = Deadline.from_timeout(50)


async def test_deadline_ends_a_wait_in_another_task_too(autojump_clock: trio.testing.MockClock) -> None:
    async with over_memory([EchoService()]) as channel:
        with pytest.raises(GRPCError) as caught:
            async with EchoStub(channel).Chat.open(timeout=3) as call:
                await call.send_message(Ping(seq=1))
                await call.recv_message()
                seen: list[Status] = []

                async def receive() -> None:
                    try:
                        await call.recv_message()
                    except GRPCError as error:
                        seen.append(error.status)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(receive)
                await call.send_message(Ping(seq=2))
        assert seen == [Status.DEADLINE_EXCEEDED]
        assert caught.value.status is Status.DEADLINE_EXCEEDED


async def test_call_whose_connection_ends_before_its_status_does_not_succeed() -> None:
    """grpclib would take silence for consent when the transport is closing."""
    async with over_memory([EchoService()]) as channel:
        with pytest.raises(StreamTerminatedError):
            async with EchoStub(channel).Watch.open() as call:
                await call.send_message(WatchRequest(), end=True)
                await call.recv_message()
                channel.close()
                await channel.connection.wait_closed()


async def test_peers_metadata_that_does_not_decode_is_the_peers_fault() -> None:
    async with over_memory([EchoService()]) as channel:
        with pytest.raises(GRPCError) as caught:
            async with EchoStub(channel).Echo.open() as call:
                await call.send_message(Ping(seq=SLEEP), end=True)
                call._stream.on_headers([(":status", "200"), ("content-type", "application/grpc"), ("bad-bin", "A")])
                await call.recv_message()
        assert caught.value.status is Status.INTERNAL


def test_errors_have_one_status_each() -> None:
    def status(error: Exception) -> Status | None:
        found = grpc_error(error)
        return found and found.status

    assert status(GRPCError(Status.ABORTED)) is Status.ABORTED
    assert status(PeerRejectedError()) is Status.PERMISSION_DENIED
    assert status(RemoteProtocolError()) is Status.INTERNAL
    assert status(LinkLostError()) is Status.UNAVAILABLE
    assert status(ConnectionLostError()) is Status.UNAVAILABLE
    assert status(trio.TooSlowError()) is Status.DEADLINE_EXCEEDED
    assert status(KeyError()) is None
    assert status(LocalProtocolError()) is None
    assert status(ExceptionGroup("", [GRPCError(Status.ABORTED), PeerRejectedError()])) is Status.ABORTED
    assert status(ExceptionGroup("", [GRPCError(Status.ABORTED), KeyError()])) is None
