"""Every kind of call, over every wiring: memory, mTLS, the fallback, swapped roles, and through a forwarder."""

import logging

import pytest
import trio
from grpclib.client import UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.wire.errors import LinkLostError
from pharos.wire.rpc import limits
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping, Pong, WatchRequest
from tests.support.rpc import (
    ANSWER_NOTHING,
    CRASH,
    NOT_FOUND,
    RAISE_IN_NURSERY,
    SLEEP,
    WIRINGS,
    EchoService,
    Wiring,
    frame,
    over_memory,
    request_headers,
)

every_wiring = pytest.mark.parametrize("wiring", WIRINGS.values(), ids=WIRINGS)


@every_wiring
async def test_unary_call_returns_the_answer(wiring: Wiring) -> None:
    async with wiring([EchoService()]) as channel:
        pong = await EchoStub(channel).Echo(Ping(seq=1, payload=b"hello"))
        assert (pong.seq, pong.payload) == (1, b"hello")


@every_wiring
async def test_metadata_travels_both_ways(wiring: Wiring) -> None:
    service = EchoService()
    async with wiring([service]) as channel:
        async with EchoStub(channel).Echo.open(metadata={"colour": "blue", "blob-bin": b"\x00\xfe"}) as call:
            await call.send_message(Ping(seq=1), end=True)
            await call.recv_message()
            await call.recv_trailing_metadata()
        assert service.metadata == [{"colour": "blue", "blob-bin": b"\x00\xfe"}]
        assert dict(call.initial_metadata or {}) == {"initial": "yes", "blob-bin": b"\x00\xff"}
        assert dict(call.trailing_metadata or {}) == {"trailing": "yes"}


@every_wiring
async def test_status_and_message_reach_the_caller(wiring: Wiring) -> None:
    async with wiring([EchoService()]) as channel:
        with pytest.raises(GRPCError) as caught:
            await EchoStub(channel).Echo(Ping(seq=NOT_FOUND))
        assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, "no such thing: é")


@every_wiring
async def test_status_raised_inside_a_nursery_reaches_the_caller(wiring: Wiring) -> None:
    async with wiring([EchoService()]) as channel:
        with pytest.raises(GRPCError) as caught:
            await EchoStub(channel).Echo(Ping(seq=RAISE_IN_NURSERY))
        assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, "in a nursery")


@every_wiring
async def test_crash_of_a_handler_is_logged_and_tells_the_caller_nothing(
    wiring: Wiring, caplog: pytest.LogCaptureFixture
) -> None:
    async with wiring([EchoService()]) as channel:
        with pytest.raises(GRPCError) as caught:
            await EchoStub(channel).Echo(Ping(seq=CRASH))
        assert (caught.value.status, caught.value.message) == (Status.UNKNOWN, "internal error")
        assert "boom" in caplog.text
        assert [r.levelno for r in caplog.records if r.levelno >= logging.ERROR] == [logging.ERROR]
        caplog.clear()
        assert (await EchoStub(channel).Echo(Ping(seq=1))).seq == 1


@every_wiring
async def test_handler_that_answers_nothing_is_an_error_for_the_caller(
    wiring: Wiring, caplog: pytest.LogCaptureFixture
) -> None:
    async with wiring([EchoService()]) as channel:
        with pytest.raises(GRPCError) as caught:
            await EchoStub(channel).Echo(Ping(seq=ANSWER_NOTHING))
        assert caught.value.status is Status.UNKNOWN
        assert "requires a single message" in caplog.text
        caplog.clear()


@every_wiring
async def test_unknown_method_is_unimplemented(wiring: Wiring) -> None:
    async with wiring([EchoService()]) as channel:
        with pytest.raises(GRPCError) as caught:
            await UnaryUnaryMethod(channel, "/pharos_test.v1.Echo/Nope", Ping, Pong)(Ping())
        assert caught.value.status is Status.UNIMPLEMENTED


@every_wiring
async def test_server_stream_arrives_in_order(wiring: Wiring) -> None:
    async with wiring([EchoService()]) as channel:
        events = await EchoStub(channel).Watch(WatchRequest(count=1000, size=100))
        assert [event.seq for event in events] == list(range(1000))


@every_wiring
async def test_client_stream_is_collected(wiring: Wiring) -> None:
    async with wiring([EchoService()]) as channel:
        pong = await EchoStub(channel).Collect([Ping(seq=n) for n in range(10)])
        assert pong.seq == 45


@every_wiring
async def test_chat_survives_half_close(wiring: Wiring) -> None:
    async with wiring([EchoService()]) as channel:
        answers = []
        async with EchoStub(channel).Chat.open() as call:
            for n in range(3):
                await call.send_message(Ping(seq=n))
                answers.append((await call.recv_message()).seq)
            await call.end()
            answers.append((await call.recv_message()).seq)
            assert await call.recv_message() is None
        assert answers == [0, 2, 4, 999]


@every_wiring
async def test_messages_larger_than_a_window_pass(wiring: Wiring) -> None:
    payload = bytes(range(256)) * 3900  # 998,400 bytes: eight stream windows, and just below the cap
    async with wiring([EchoService()]) as channel:
        pong = await EchoStub(channel).Echo(Ping(seq=1, payload=payload))
        assert pong.payload == payload


@every_wiring
async def test_both_directions_full_do_not_block_each_other(wiring: Wiring) -> None:
    payload = b"p" * 500_000
    async with wiring([EchoService()]) as channel:
        stub = EchoStub(channel)
        async with trio.open_nursery() as nursery:

            async def echo() -> None:
                assert (await stub.Echo(Ping(seq=1, payload=payload))).payload == payload

            for _ in range(8):
                nursery.start_soon(echo)


@every_wiring
async def test_deadline_ends_the_call_and_cancels_the_handler(
    wiring: Wiring, mock_clock: trio.testing.MockClock
) -> None:
    service = EchoService()
    async with wiring([service]) as channel, trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(GRPCError) as caught:
                await EchoStub(channel).Echo(Ping(seq=SLEEP), timeout=5)
            assert caught.value.status is Status.DEADLINE_EXCEEDED

        nursery.start_soon(call)
        await service.wait_running(1)
        mock_clock.jump(4)
        await trio.testing.wait_all_tasks_blocked()
        assert service.running == 1
        mock_clock.jump(2)
        await service.wait_idle()
        assert service.cancelled == 1


@every_wiring
async def test_cancelled_call_cancels_the_handler(wiring: Wiring) -> None:
    service = EchoService()
    async with wiring([service]) as channel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(EchoStub(channel).Echo, Ping(seq=SLEEP))
            await service.wait_running(1)
            nursery.cancel_scope.cancel()
        await service.wait_idle()
        assert service.cancelled == 1


@every_wiring
async def test_leaving_a_stream_early_cancels_the_handler(wiring: Wiring) -> None:
    service = EchoService()
    async with wiring([service]) as channel:
        async with EchoStub(channel).Watch.open() as call:
            await call.send_message(WatchRequest(size=10), end=True)
            for n in range(5):
                event = await call.recv_message()
                assert event is not None
                assert event.seq == n
            await call.cancel()
        await service.wait_idle()
        assert service.cancelled == 1


@every_wiring
async def test_lost_connection_cancels_handlers_and_fails_calls(wiring: Wiring) -> None:
    service = EchoService()
    async with wiring([service]) as channel:
        with pytest.raises(StreamTerminatedError) as caught:
            async with EchoStub(channel).Watch.open() as call:
                await call.send_message(WatchRequest(size=10), end=True)
                while True:
                    await call.recv_message()
                    channel.close()
        assert isinstance(caught.value, LinkLostError)
        await service.wait_idle()
        assert service.cancelled == 1
        with pytest.raises(LinkLostError):
            await EchoStub(channel).Echo(Ping(seq=1))


@every_wiring
async def test_hundreds_of_cancelled_calls_leave_no_stream_behind(
    wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So many at once are an attack otherwise (security.md row 36).
    monkeypatch.setattr(limits, "RESET_BURST", 1000.0)
    service = EchoService()
    async with wiring([service]) as channel:
        stub = EchoStub(channel)

        async def give_up(after: float) -> None:
            with trio.move_on_after(after):
                await stub.Echo(Ping(seq=SLEEP))

        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for n in range(60):
                    nursery.start_soon(give_up, n * 0.0005)
        assert (await stub.Echo(Ping(seq=1))).seq == 1
        await service.wait_idle()
        assert not channel.connection.streams
        assert not channel.connection.machine.streams


async def test_deadlines_follow_the_trio_clock(autojump_clock: trio.testing.MockClock) -> None:
    service = EchoService()
    async with over_memory([service]) as channel:
        started = trio.current_time()
        with pytest.raises(GRPCError) as caught:
            await EchoStub(channel).Echo(Ping(seq=SLEEP), timeout=3600)
        assert caught.value.status is Status.DEADLINE_EXCEEDED
        assert trio.current_time() - started == pytest.approx(3600)


async def test_server_ends_a_call_at_its_deadline_whatever_the_client_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = EchoService()
    async with over_memory([service]) as channel:
        stream = channel.connection.create_stream()
        await stream.send_request(request_headers("Echo", ("grpc-timeout", "2S")))
        await stream.send_data(frame(Ping(seq=SLEEP)), end_stream=True)
        assert ("grpc-status", str(Status.DEADLINE_EXCEEDED.value)) in await stream.recv_headers()
        stream.close()
        assert trio.current_time() == pytest.approx(2)
        assert service.cancelled == 1
