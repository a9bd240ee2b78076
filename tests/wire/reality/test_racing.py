"""Several ways to one node: who wins, who is closed, and what is told when nobody does."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec

from pharos.wire.errors import LinkLostError, WireError
from pharos.wire.reality import racing, strangers
from pharos.wire.reality.errors import RealCertificateError
from pharos.wire.reality.options import Endpoint
from pharos.wire.reality.racing import race_reality
from pharos.wire.reality.strangers import Strangers
from tests.support.reality import accept, settings
from tests.wire.reality.test_dial import CURVE, Site, closed_port, listening
from tests.wire.reality.test_openssl import server_context

HOST = "127.0.0.1"
NEVER = 3600.0
"""Between two starts: then only a failure starts the next."""
Serve = Callable[[trio.SocketStream], Awaitable[None]]


def ends(*ports: int) -> list[Endpoint]:
    return [Endpoint(host=HOST, port=port, settings=settings()) for port in ports]


async def silent(transport: trio.SocketStream) -> None:
    async with transport:
        await trio.sleep_forever()


class Node:
    """Shakes hands when it may, and notes how each connection ends."""

    def __init__(self, *, ready: bool = True) -> None:
        self.may = trio.Event()
        self.dialled = trio.Event()
        if ready:
            self.may.set()

    async def serve(self, transport: trio.SocketStream) -> None:
        self.dialled.set()
        try:
            await self.may.wait()
            async with await accept(transport) as stream:
                async for chunk in stream:
                    await stream.send_all(chunk)
        finally:
            await trio.aclose_forcefully(transport)


@contextlib.asynccontextmanager
async def running(*serve: Serve) -> AsyncIterator[list[int]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(listening(one)) for one in serve]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(server_context(tmp_path, ec.generate_private_key(CURVE)))


def octets(value: int, count: int) -> bytes:
    return bytes((value,)) * count


async def echoes(stream: trio.abc.Stream) -> bool:
    async with stream:
        await stream.send_all(b"data")
        return await stream.receive_some() == b"data"


async def test_the_first_way_wins_and_no_other_is_dialled_if_it_answers_in_time() -> None:
    first, second = Node(), Node()
    async with running(first.serve, second.serve) as ports:
        index, stream = await race_reality(ends(*ports), next_after=NEVER)
        assert index == 0
        assert await echoes(stream)
    assert not second.dialled.is_set()


async def test_a_failure_starts_the_next_way_at_once() -> None:
    node = Node()
    async with running(node.serve) as (port,):
        index, stream = await race_reality(ends(await closed_port(), await closed_port(), port), next_after=NEVER)
        assert index == 2
        assert await echoes(stream)


async def test_a_slow_way_is_overtaken_and_closed() -> None:
    quick, closed = Node(), trio.Event()

    async def slow(transport: trio.SocketStream) -> None:
        async with transport:
            while await transport.receive_some():
                pass
        closed.set()

    async with running(slow, quick.serve) as ports:
        index, stream = await race_reality(ends(*ports), next_after=0.01)
        assert index == 1
        with trio.fail_after(10):
            await closed.wait()
        assert await echoes(stream)


async def test_a_slow_way_that_is_done_first_wins_though_others_were_started() -> None:
    slow, silent_one = Node(ready=False), Node(ready=False)
    async with running(slow.serve, silent_one.serve) as ports:
        won = []
        async with trio.open_nursery() as nursery:

            async def race() -> None:
                won.append(await race_reality(ends(*ports), next_after=0.01))

            nursery.start_soon(race)
            await silent_one.dialled.wait()
            slow.may.set()
        [(index, stream)] = won
        assert index == 0
        assert await echoes(stream)


async def test_who_accepts_tcp_and_says_nothing_does_not_win() -> None:
    node = Node()
    async with running(silent, node.serve) as ports:
        index, stream = await race_reality(ends(*ports), next_after=0.01)
        assert index == 1
        assert await echoes(stream)


async def test_a_true_site_neither_wins_nor_hides_the_node(site: Site) -> None:
    node = Node()
    async with running(site.serve, node.serve) as ports:
        index, stream = await race_reality(ends(*ports), next_after=NEVER)
        assert index == 1
        assert await echoes(stream)
    assert site.behind_the_hello == b""


async def test_an_error_tells_of_each_way_and_a_true_site_decides_its_kind(site: Site) -> None:
    closed = await closed_port()
    async with running(site.serve) as (port,):
        with pytest.raises(RealCertificateError) as caught:
            await race_reality(ends(closed, port))
    assert f"{HOST} port {closed}: " in str(caught.value)
    assert f"{HOST} port {port}: " in str(caught.value)


async def garbage(transport: trio.SocketStream) -> None:
    async with transport:
        await transport.receive_some(1 << 16)
        await transport.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await transport.receive_some()


async def test_a_lost_way_among_broken_ones_is_a_lost_link_and_one_way_alone_tells_its_own_error() -> None:
    closed = await closed_port()
    async with running(garbage) as (port,):
        with pytest.raises(LinkLostError, match=f"port {port}: "):
            await race_reality(ends(port, closed))
        with pytest.raises(WireError, match=f"port {port}: .*port {port}: "):
            await race_reality(ends(port, port))
        with pytest.raises(LinkLostError) as caught:
            await race_reality(ends(closed))
        assert str(caught.value).count(f"port {closed}") == 1


async def test_a_way_that_hangs_ends_by_its_own_time_out() -> None:
    async with running(silent, silent) as ports:
        with pytest.raises(LinkLostError, match=r"within 0\.1 s; .*within 0\.1 s"):
            await race_reality(ends(*ports), next_after=0.01, connect_timeout=0.1)


async def test_two_that_are_done_in_one_turn_leave_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both handshakes end before the event loop lets the race's end through."""
    made: list[tuple[object, trio.testing.MemoryReceiveStream]] = []
    both = trio.Event()

    async def dial_reality(*_args: object, **_options: object) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_one_way_pair()
        made.append((ours, theirs))
        if len(made) == 2:
            both.set()
        # Which of the two runs first is drawn; the other one is done as well, and hears of no end.
        with trio.CancelScope(shield=True):
            await both.wait()
        return ours  # type: ignore[return-value]  # whatever can be closed

    monkeypatch.setattr(racing, "dial_reality", dial_reality)
    _, stream = await race_reality(ends(1, 2), next_after=0.01)
    (kept,) = (theirs for ours, theirs in made if ours is stream)
    (lost,) = (theirs for ours, theirs in made if ours is not stream)
    with trio.fail_after(5):
        assert await lost.receive_some() == b""
    with trio.move_on_after(0.05) as still_open:
        await kept.receive_some()
    assert still_open.cancelled_caught
    await stream.aclose()


async def test_a_race_that_is_cancelled_as_it_is_won_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = trio.testing.memory_stream_one_way_pair()

    async def dial_reality(*_args: object, **_options: object) -> trio.abc.Stream:
        scope.cancel()
        return ours  # type: ignore[return-value]  # whatever can be closed

    monkeypatch.setattr(racing, "dial_reality", dial_reality)
    with trio.CancelScope() as scope:
        await race_reality(ends(1))
    assert scope.cancelled_caught
    assert await theirs.receive_some() == b""


class TestStrangers:
    async def test_a_true_site_sees_the_connection_held_without_a_word(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Against a build without it, where the connection ends as soon as the certificate is seen."""
        async with running(site.serve) as (port,), trio.open_nursery() as nursery:
            with pytest.raises(RealCertificateError):
                await race_reality(ends(port))
            await site.ended.wait()

            held = Strangers(nursery)
            site.ended = trio.Event()
            with pytest.raises(RealCertificateError):
                await race_reality(ends(port), take_stranger=held.take)
            with trio.move_on_after(0.3) as patience:
                await site.ended.wait()
            assert patience.cancelled_caught
            assert held.held == 1
            nursery.cancel_scope.cancel()
        assert held.held == 0
        assert site.behind_the_hello == b""

    async def test_it_is_left_after_a_while_that_is_drawn(self, autojump_clock: trio.testing.MockClock) -> None:
        lengths = set()
        for drawn in (0, 5, 25):
            near, far = trio.testing.memory_stream_pair()
            async with trio.open_nursery() as nursery:
                start = trio.current_time()
                Strangers(nursery, random=functools.partial(octets, drawn)).take(near)
                await far.send_all(b"what a site says")
                assert await far.receive_some() == b""
                lengths.add(round(trio.current_time() - start))
        assert lengths == {5, 10, 30}

    async def test_it_is_left_when_the_site_ends_and_at_once_if_there_are_many(self) -> None:
        pairs = [trio.testing.memory_stream_pair() for _ in range(strangers.MAX_HELD + 1)]
        async with trio.open_nursery() as nursery:
            held = Strangers(nursery)
            for near, _ in pairs:
                held.take(near)
            assert await pairs[-1][1].receive_some() == b""
            assert held.held == strangers.MAX_HELD
            for _, far in pairs[:-1]:
                await far.aclose()
        assert held.held == 0

    async def test_what_a_site_sends_without_end_is_not_taken_without_end(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        near, far = trio.testing.memory_stream_pair()
        reads = 0
        receive = near.receive_some

        async def counted(max_bytes: int | None = None) -> bytes | bytearray:
            nonlocal reads
            reads += 1
            return await receive(1)

        near.receive_some = counted  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            Strangers(nursery).take(near)
            await far.send_all(bytes(1000))
            assert await far.receive_some() == b""
        assert reads == strangers.MAX_READS
