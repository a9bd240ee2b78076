"""A peer that speaks, but hardly, has its time and no more (security.md row 33)."""

import math

import pytest
import trio
import trio.testing

from pharos.wire.rpc import limits
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.slowness import Slowness
from tests.support.h2peer import EMPTY_SETTINGS, PREFACE, scripted
from tests.support.machines import pair
from tests.support.rpc import request_headers
from tests.wire.rpc.test_guard import raw


def look(slowness: Slowness, data: bytes, now: float, server: object) -> float:
    server.receive_data(data)  # type: ignore[attr-defined]
    slowness.look(server, up=True, now=now)  # type: ignore[arg-type]
    return slowness.due


def begun() -> tuple[Slowness, object]:
    slowness = Slowness()
    slowness.begin(0.0)
    assert slowness.due == limits.PREFACE_TIMEOUT
    _client, server = pair()
    slowness.look(server, up=True, now=1.0)
    assert slowness.due == math.inf
    return slowness, server


def test_frame_has_its_time_and_a_second_for_each_hundred_octets() -> None:
    slowness, server = begun()
    ping = raw(6, 0, 0, bytes(8))
    assert look(slowness, ping[:1], 5.0, server) == pytest.approx(15.0 + 8 / 100)
    # The header tells how much is to come; until then it was eight octets of header.
    due = look(slowness, ping[1:9], 6.0, server)
    assert due == pytest.approx(16.0 + 8 / 100)
    assert look(slowness, ping[9:10], 7.0, server) == due
    assert look(slowness, ping[10:], 8.0, server) == math.inf
    large = raw(0xEE, 0, 1, bytes(16_000))
    assert look(slowness, large[:20], 10.0, server) == pytest.approx(20.0 + (16_009 - 20) / 100)


def test_each_frame_has_its_own_time() -> None:
    slowness, server = begun()
    ping = raw(6, 0, 0, bytes(8))
    first = look(slowness, ping[:10], 1.0, server)
    second = look(slowness, ping[10:] + ping[:10], 2.0, server)
    assert second == first + 1.0


def test_header_block_has_one_time_however_it_is_cut() -> None:
    slowness, server = begun()
    assert look(slowness, raw(1, 0, 1, b"\x82"), 1.0, server) == 11.0
    for now in range(2, 10):
        assert look(slowness, raw(9, 0, 1, b"\x84"), float(now), server) == 11.0


async def fate_of(
    data: bytes, *, pace: float = math.inf, up: bool = True, idle_timeout: float | None = None
) -> tuple[float, str]:
    """Let a peer send ``data``, one octet each ``pace`` seconds, and then nothing; return when and how it ends.

    It answers PING in between, for silence is another matter.
    """
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Connection(ours, client_side=False, keepalive=None, idle_timeout=idle_timeout)
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        if up:
            await theirs.send_all(PREFACE + EMPTY_SETTINGS)

        async def speak() -> None:
            for octet in data:
                await theirs.send_all(bytes([octet]))
                if pace < math.inf:
                    await trio.sleep(pace)

        nursery.start_soon(speak)
        with trio.move_on_after(3600):
            await connection.wait_closed()
        ended = trio.current_time() - started
        nursery.cancel_scope.cancel()
    return ended, str(connection.error)


async def test_peer_without_a_preface_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    when, why = await fate_of(b"", up=False)
    assert when == pytest.approx(10.0, abs=0.1)
    assert why == "the peer is too slow: its preface"


async def test_preface_octet_by_octet_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    assert (await fate_of(PREFACE + EMPTY_SETTINGS, pace=1.0, up=False))[0] == pytest.approx(10.0, abs=0.1)


async def test_frame_octet_by_octet_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    when, why = await fate_of(raw(0xEE, 0, 1, bytes(200)), pace=1.0)
    # Nine seconds for the header, and then what its length allows.
    assert when == pytest.approx(9 + 10 + 2, abs=1.5)
    assert why == "the peer is too slow: a frame"


async def test_slow_but_honest_frame_is_read(autojump_clock: trio.testing.MockClock) -> None:
    for size, pace in ((1000, 0.005), (10_000, 1 / 150)):
        when, why = await fate_of(raw(0xEE, 0, 1, bytes(size)), pace=pace)
        assert (when, why) == (3600.0, "None")


async def test_header_block_octet_by_octet_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    headers = raw(1, 0, 1, b"\x82") + raw(9, 0, 1, b"\x84") * 60
    when, why = await fate_of(headers, pace=0.5)
    assert when <= 20.5
    assert why == "the peer is too slow: a header block"


async def test_server_without_a_request_says_goodbye(autojump_clock: trio.testing.MockClock) -> None:
    when, why = await fate_of(b"", idle_timeout=limits.FIRST_REQUEST_TIMEOUT)
    assert when == pytest.approx(10.0, abs=1.1)
    assert "no request" in why


async def test_each_time_out_is_what_ends_it(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof that the tests above can fail."""
    monkeypatch.setattr(limits, "PREFACE_TIMEOUT", math.inf)
    monkeypatch.setattr(limits, "FRAME_TIMEOUT", math.inf)
    assert (await fate_of(b"", up=False))[0] == 3600.0
    assert (await fate_of(raw(0xEE, 0, 1, bytes(200)), pace=1.0))[0] == 3600.0
    assert (await fate_of(raw(1, 0, 1, b"\x82") + raw(9, 0, 1, b"\x84") * 60, pace=0.5))[0] == 3600.0
    assert (await fate_of(b"", idle_timeout=None))[0] == 3600.0


async def test_peer_in_time_is_not_interrupted(autojump_clock: trio.testing.MockClock) -> None:
    """A receive that is cancelled would end a passage: an alarm that has become moot must not ring."""
    rung = 0
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Connection(ours, client_side=False, keepalive=None)
    receive = ours.receive_some

    async def counted(max_bytes: int | None = None) -> bytes:
        nonlocal rung
        try:
            return bytes(await receive(max_bytes))
        except trio.Cancelled:
            rung += 1
            raise

    ours.receive_some = counted  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await theirs.send_all(PREFACE + EMPTY_SETTINGS)
        ping = raw(6, 0, 0, bytes(8))
        for part in (ping[:5], ping[5:], ping):
            await theirs.send_all(part)
            await trio.sleep(1)
        await trio.sleep(3600)
        assert not connection.closed
        assert rung == 0
        connection.close_now()


async def test_connection_whose_last_stream_has_ended_is_not_kept(autojump_clock: trio.testing.MockClock) -> None:
    async def answer(stream: H2Stream) -> None:
        await stream.send_headers([(":status", "200")], end_stream=True)

    async with scripted(client_side=True, accept=answer, idle_timeout=60) as (peer, connection):
        for number in range(3):
            await trio.sleep(50)
            peer.h2.send_headers(2 * number + 1, request_headers("Echo"), end_stream=True)
            await peer.flush()
        ended = trio.current_time()
        await connection.wait_closed()
        assert trio.current_time() - ended == pytest.approx(60, abs=2)
