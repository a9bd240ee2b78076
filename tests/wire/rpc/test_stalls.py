"""Peers that do not read: what they may hold, and for how long (security.md row 40, passage.md §2)."""

import math

import attrs
import pytest
import trio
import trio.testing
from h2.errors import ErrorCodes
from h2.events import StreamReset, WindowUpdated
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import INNER, Holdings
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream, StreamStalledError
from pharos.wire.units import KIB
from tests.support.h2peer import scripted
from tests.support.rpc import request_headers


@attrs.define(eq=False)
class Keeper:
    """Holds octets until it is told to let go."""

    held: int = 0
    evicted: bool = False

    def evict(self) -> None:
        self.evicted = True


def test_largest_holder_goes_beyond_the_limit() -> None:
    holdings = Holdings(100)
    small, large, last = Keeper(), Keeper(), Keeper()
    holdings.update(small, 30)
    holdings.update(large, 60)
    holdings.update(last, 10)
    assert holdings.total == 100
    holdings.update(last, 11)
    assert (small.evicted, large.evicted, last.evicted) == (False, True, False)
    assert holdings.total == 41


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50)), max_size=100))
def test_holdings_add_up_and_never_exceed_the_limit(steps: list[tuple[int, int]]) -> None:
    holdings = Holdings(120)
    keepers = [Keeper() for _ in range(10)]
    for number, held in steps:
        holdings.update(keepers[number], held)
        assert holdings.total == sum(keeper.held for keeper in keepers) <= 120


async def never_read(stream: H2Stream) -> None:
    await trio.sleep_forever()


async def test_unread_stream_is_reset_when_all_hold_too_much() -> None:
    holdings = Holdings(100 * KIB)
    async with scripted(client_side=True, accept=never_read, holdings=holdings) as (peer, connection):
        await peer.wait_for(WindowUpdated)
        for stream_id, size in ((1, 40 * KIB), (3, 50 * KIB)):
            peer.h2.send_headers(stream_id, request_headers("Chat"))
            for _ in range(size // (10 * KIB)):
                peer.h2.send_data(stream_id, bytes(10 * KIB))
            await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert holdings.total == 90 * KIB
        peer.h2.send_data(1, bytes(11 * KIB))
        await peer.flush()
        reset = await peer.wait_for(StreamReset)
        assert (reset.stream_id, reset.error_code) == (1, ErrorCodes.ENHANCE_YOUR_CALM)
        await trio.testing.wait_all_tasks_blocked()
        assert [*connection.streams] == [3]
        assert holdings.total == 50 * KIB
    assert holdings.total == 0


async def test_what_is_read_is_not_held() -> None:
    holdings = Holdings(20 * KIB)
    total = 0

    async def read(stream: H2Stream) -> None:
        nonlocal total
        while (chunk := await stream.receive_chunk()) is not None:
            data, credit = chunk
            total += len(data)
            stream.credit(credit)

    async with scripted(client_side=True, accept=read, holdings=holdings) as (peer, _connection):
        await peer.wait_for(WindowUpdated)
        peer.h2.send_headers(1, request_headers("Chat"))
        for _ in range(10):
            peer.h2.send_data(1, bytes(10 * KIB))
            await peer.flush()
            await trio.testing.wait_all_tasks_blocked()
            assert holdings.total == 0
    assert total == 100 * KIB


async def test_output_nobody_takes_is_held_by_the_connection() -> None:
    holdings = Holdings(20 * KIB)
    ours, _theirs = trio.testing.memory_stream_pair()
    stuck = trio.Event()
    ours.send_stream.send_all_hook = stuck.wait
    connection = Connection(ours, client_side=True, keepalive=None, holdings=holdings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await trio.testing.wait_all_tasks_blocked()
        stream = connection.create_stream()
        await stream.send_request(request_headers("Chat"))
        assert 0 < holdings.total < KIB
        await stream.send_data(bytes(16 * KIB))
        assert 16 * KIB < holdings.total < 18 * KIB
        await stream.send_data(bytes(4 * KIB))
        await connection.wait_closed()
    assert "does not read" in str(connection.error)
    assert holdings.total == 0


# -- the progress deadline


async def stalled_for(seconds: float, *, window: int = 0, connection_window: int | None = None) -> str:
    """Send 300 kB to a peer that gives no more than this credit; return what the sender was told, if anything."""
    told = "nothing"

    async def send(stream: H2Stream) -> None:
        nonlocal told
        await stream.send_headers([(":status", "200"), ("content-type", "application/grpc")])
        try:
            await stream.send_data(bytes(300_000))
        finally:
            told = str(stream.error or "nothing")

    async with scripted(client_side=True, accept=send, windows=INNER) as (peer, _connection):
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        if connection_window is not None:
            peer.h2.increment_flow_control_window(connection_window)
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        peer.h2.send_headers(1, request_headers("Chat"))
        await peer.flush()
        await trio.sleep(seconds)
    return told


async def test_stream_without_credit_is_reset_in_time(autojump_clock: trio.testing.MockClock) -> None:
    assert "no credit" not in await stalled_for(limits.PROGRESS_TIMEOUT - 1)
    assert "no credit" in await stalled_for(limits.PROGRESS_TIMEOUT + 1)
    # Its own credit is plenty, the connection's is used up.
    assert "no credit" in await stalled_for(limits.PROGRESS_TIMEOUT + 1, window=2**20)


async def test_stream_without_credit_waits_for_ever_where_no_time_is_set(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof that the test above can fail."""
    monkeypatch.setattr(limits, "PROGRESS_TIMEOUT", math.inf)
    assert "no credit" not in await stalled_for(3600)


async def test_slow_credit_is_progress(autojump_clock: trio.testing.MockClock) -> None:
    done = trio.Event()

    async def send(stream: H2Stream) -> None:
        await stream.send_headers([(":status", "200"), ("content-type", "application/grpc")])
        await stream.send_data(bytes(100))
        done.set()

    async with scripted(client_side=True, accept=send) as (peer, _connection):
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        peer.h2.send_headers(1, request_headers("Chat"))
        await peer.flush()
        for _ in range(10):
            await trio.sleep(limits.PROGRESS_TIMEOUT - 1)
            assert not done.is_set()
            peer.h2.increment_flow_control_window(10, 1)
            await peer.flush()
        await done.wait()


async def test_sender_of_an_opened_stream_is_told(autojump_clock: trio.testing.MockClock) -> None:
    async with scripted(client_side=False) as (peer, connection):
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await peer.flush()
        await trio.testing.wait_all_tasks_blocked()
        stream = connection.create_stream()
        await stream.send_request(request_headers("Chat"))
        with pytest.raises(StreamStalledError):
            await stream.send_data(b"x")
        assert (await peer.wait_for(StreamReset)).error_code == ErrorCodes.CANCEL
        stream.close()
