"""Credit and its queues: what is unread must not starve what is read (passage.md §2)."""

import pytest
import trio
import trio.testing
from h2.events import DataReceived

from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import CONTROL, EDGE, INNER, TUNNEL, Credit, Gate, Windows
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.units import KIB, MIB
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping, WatchRequest
from tests.support.h2peer import scripted
from tests.support.rpc import EchoService, over_memory, request_headers


def test_named_windows_are_those_of_the_design() -> None:
    assert Windows(128 * KIB, 512 * KIB) == INNER == EDGE
    assert Windows(128 * KIB, 16 * MIB) == TUNNEL
    assert Windows(256 * KIB, 1 * MIB) == CONTROL


@pytest.mark.parametrize(("stream", "connection"), [(65_534, 65_535), (65_535, 65_534), (65_535, 2**31)])
def test_windows_that_http2_cannot_have_are_refused(stream: int, connection: int) -> None:
    with pytest.raises(ValueError):
        Windows(stream, connection)


def test_credit_is_saved_up_to_its_threshold() -> None:
    credit = Credit(100)
    assert [credit.add(60), credit.add(39), credit.add(1), credit.add(250)] == [0, 0, 100, 250]


# -- the queue


async def test_gate_lets_waiters_in_one_by_one_and_in_order() -> None:
    room = 0
    order: list[int] = []
    gate = Gate(lambda: room > 0)

    async def enter(number: int) -> None:
        nonlocal room
        async with gate:
            room -= 1
            order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(enter, number)
            await trio.testing.wait_all_tasks_blocked()
        room = 2
        gate.leave()
        await trio.testing.wait_all_tasks_blocked()
        assert order == [0, 1]
        room = 3
        gate.leave()
    assert order == [0, 1, 2, 3, 4]


async def test_newcomer_does_not_overtake_the_queue() -> None:
    room = 0
    order: list[str] = []
    gate = Gate(lambda: room > 0)

    async def enter(name: str) -> None:
        nonlocal room
        async with gate:
            room -= 1
            order.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enter, "first")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(enter, "second")
        await trio.testing.wait_all_tasks_blocked()
        room = 3
        assert not gate.free()
        gate.leave()
        await enter("newcomer")
    assert order == ["first", "second", "newcomer"]


async def test_turn_of_a_failing_waiter_goes_to_the_next() -> None:
    holds = False
    gate = Gate(lambda: holds)
    reached = trio.Event()

    async def fail() -> None:
        with pytest.raises(KeyError):
            async with gate:
                raise KeyError

    async def follow() -> None:
        async with gate:
            reached.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        holds = True
        gate.leave()
        await reached.wait()


async def test_cancelled_waiter_loses_nobody_elses_turn() -> None:
    holds = False
    gate = Gate(lambda: holds)

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def give_up() -> None:
            with scope:
                await gate.enter()

        nursery.start_soon(give_up)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(gate.enter)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        holds = True
        gate.leave()


# -- on a connection


async def test_unread_stream_holds_one_window_and_then_its_sender_waits() -> None:
    service = EchoService()
    async with over_memory([service], client_windows=INNER) as channel:
        async with EchoStub(channel).Watch.open() as call:
            await call.send_message(WatchRequest(size=1000), end=True)
            await trio.testing.wait_all_tasks_blocked()
            held = len(call._stream.buffered)
            assert INNER.stream - 1100 < held <= INNER.stream
            before = service.sent
            for _ in range(before + 50):
                await call.recv_message()
            assert service.sent > before
            await call.cancel()


class LateCredit(Credit):
    """Connection credit that is given back when data is read, and not at receipt: the weaker rule."""

    def add(self, size: int) -> int:
        return 0

    def when_read(self, stream: H2Stream, size: int) -> None:
        if increment := super().add(size):
            stream.connection.machine.increment_flow_control_window(increment)
            stream.connection.flush()


async def unread_streams_leave_room(monkeypatch: pytest.MonkeyPatch, *, eager: bool, stalled: int = 10) -> bool:
    """Stall streams on one connection, and tell whether one more still works."""
    async with over_memory([EchoService()], client_windows=INNER) as channel:
        if not eager:
            late = LateCredit(INNER.connection // 4)
            give = H2Stream.credit

            def give_both(stream: H2Stream, size: int) -> None:
                give(stream, size)
                if stream.connection is channel.connection:
                    late.when_read(stream, size)

            channel.connection._receipts = late
            monkeypatch.setattr(H2Stream, "credit", give_both)
        stub = EchoStub(channel)
        async with trio.open_nursery() as nursery:

            async def stall() -> None:
                async with stub.Watch.open() as call:
                    await call.send_message(WatchRequest(size=16_000), end=True)
                    await call.recv_message()
                    await trio.sleep_forever()

            for _ in range(stalled):
                nursery.start_soon(stall)
                await trio.testing.wait_all_tasks_blocked()
            served = False
            with trio.move_on_after(limits.PROGRESS_TIMEOUT / 2):
                payload = b"p" * 500_000
                served = (await stub.Echo(Ping(seq=1, payload=payload))).payload == payload
            nursery.cancel_scope.cancel()
    return served


async def test_unread_streams_do_not_starve_others(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    assert await unread_streams_leave_room(monkeypatch, eager=True)


async def test_unread_streams_starve_others_where_credit_is_not_eager(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """The proof that the test above can fail."""
    assert not await unread_streams_leave_room(monkeypatch, eager=False)
    assert await unread_streams_leave_room(monkeypatch, eager=False, stalled=1)


async def test_connection_credit_wakes_only_as_many_as_it_serves() -> None:
    """A connection-level update costs one wake-up, not one per waiting stream."""
    async with scripted(client_side=False) as (peer, connection):
        streams = [connection.create_stream() for _ in range(30)]
        for stream in streams:
            await stream.send_request(request_headers("Echo"))
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(stream.send_data, b"d" * 10_000)
            await trio.testing.wait_all_tasks_blocked()
            # 65,535 bytes of connection credit are used up; 23 and a half messages wait.
            assert connection.machine.outbound_flow_control_window == 0
            queue = connection.credit._queue
            assert queue is not None
            assert len(queue) == 24
            await peer.wait_for(DataReceived)
            peer.h2.increment_flow_control_window(20_000)
            await peer.flush()
            await trio.testing.wait_all_tasks_blocked()
            assert len(queue) == 22
            peer.h2.increment_flow_control_window(300_000)
            await peer.flush()
        for stream in streams:
            stream.close()


async def test_stream_out_of_its_own_credit_does_not_sit_on_the_connections() -> None:
    async with scripted(client_side=False) as (peer, connection):
        peer.h2.increment_flow_control_window(1_000_000)
        await peer.flush()
        greedy, modest = connection.create_stream(), connection.create_stream()
        await greedy.send_request(request_headers("Echo"))
        await modest.send_request(request_headers("Echo"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(greedy.send_data, b"d" * 200_000)
            await trio.testing.wait_all_tasks_blocked()
            await modest.send_data(b"d" * 50_000)
            nursery.cancel_scope.cancel()
        greedy.close()
        modest.close()


async def test_larger_initial_window_lets_waiting_streams_go_on() -> None:
    async with scripted(client_side=False) as (peer, connection):
        peer.h2.increment_flow_control_window(1_000_000)
        await peer.flush()
        stream = connection.create_stream()
        await stream.send_request(request_headers("Echo"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_data, b"d" * 100_000)
            await trio.testing.wait_all_tasks_blocked()
            peer.h2.update_settings({4: 100_000})
            await peer.flush()
        stream.close()


async def test_padding_is_given_back_at_once() -> None:
    async def ignore(_stream: H2Stream) -> None:
        await trio.sleep_forever()

    async with scripted(client_side=True, accept=ignore) as (peer, connection):
        peer.h2.send_headers(1, request_headers("Echo"))
        for _ in range(600):
            peer.h2.send_data(1, b"", pad_length=200)
            await peer.flush()
            await trio.testing.wait_all_tasks_blocked()
            if connection.machine.pending == 0 and peer.h2.local_flow_control_window(1) < 1000:
                while data := await receive_ready(peer.stream):
                    peer.h2.receive_data(data)
        assert not connection.closed
        assert not connection.streams[1].buffered


async def receive_ready(stream: trio.abc.Stream) -> bytes | bytearray:
    with trio.move_on_after(0.001):
        return await stream.receive_some(65536)
    return b""
