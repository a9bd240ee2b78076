"""New passages go to the emptiest tunnel that is up and has a place, and wait a little for one."""

from __future__ import annotations

import types
from contextlib import ExitStack

import attrs
import pytest
import trio
import trio.testing

from pharos.beacon.upstream import MAX_WAITING, PATIENCE, NoUpstreamError, Upstreams
from pharos.wire.rpc.limits import KEEPALIVE_INTERVAL, TUNNEL_STREAMS

Clock = trio.testing.MockClock


@attrs.define(eq=False)
class FakeConnection:
    """As much of a connection as a choice needs."""

    open: bool = True
    max_streams: int = TUNNEL_STREAMS
    heard_at: float = attrs.field(factory=trio.current_time)

    @property
    def leaving(self) -> bool:
        return not self.open

    @property
    def machine(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(remote_settings=types.SimpleNamespace(max_concurrent_streams=self.max_streams))


class Scene:
    """Upstreams, and passages that hold their places until they are let go."""

    def __init__(self, upstreams: Upstreams, nursery: trio.Nursery) -> None:
        self.upstreams = upstreams
        self.nursery = nursery
        self.refused = 0

    def join(self, connection: FakeConnection, passages: int = 0) -> trio.CancelScope:
        """Offer a tunnel that has passages already, until the scope is cancelled."""
        scope = trio.CancelScope()
        stack = ExitStack()
        stack.enter_context(self.upstreams.joined(connection))  # type: ignore[arg-type]
        self.upstreams._tunnels[-1].passages = passages

        async def stay() -> None:
            with stack, scope:
                await trio.sleep_forever()

        self.nursery.start_soon(stay)
        return scope

    async def chosen(self) -> object:
        async with self.upstreams.place() as connection:
            return connection

    def hold(self) -> trio.CancelScope:
        """Hold a place from now, or from when there is one, until the scope is cancelled."""
        scope = trio.CancelScope()

        async def stay() -> None:
            with scope:
                try:
                    async with self.upstreams.place():
                        await trio.sleep_forever()
                except NoUpstreamError:
                    self.refused += 1

        self.nursery.start_soon(stay)
        return scope

    @property
    def passages(self) -> list[int]:
        return [tunnel.passages for tunnel in self.upstreams._tunnels]


@pytest.fixture
def scene(nursery: trio.Nursery) -> Scene:
    return Scene(Upstreams(), nursery)


blocked = trio.testing.wait_all_tasks_blocked


async def test_while_helm_is_away_nobody_waits(scene: Scene, autojump_clock: Clock) -> None:
    with pytest.raises(NoUpstreamError, match="not connected"):
        await scene.chosen()
    assert trio.current_time() == 0


async def test_emptiest_tunnel_is_chosen(scene: Scene, autojump_clock: Clock) -> None:
    busy, idle = FakeConnection(), FakeConnection()
    scene.join(busy, 5)
    assert await scene.chosen() is busy
    scene.join(idle, 1)
    assert await scene.chosen() is idle
    for _ in range(10):
        scene.hold()
    await blocked()
    assert scene.passages == [8, 8]
    assert len(scene.upstreams) == 2


async def test_tunnel_that_closed_or_drains_is_not_chosen(scene: Scene, autojump_clock: Clock) -> None:
    gone, alive = FakeConnection(), FakeConnection()
    scene.join(gone)
    gone.open = False
    with pytest.raises(NoUpstreamError, match="not connected"):
        await scene.chosen()
    scene.join(alive, 499)
    assert await scene.chosen() is alive


async def test_tunnel_that_is_silent_is_the_last_choice(scene: Scene, autojump_clock: Clock) -> None:
    silent = FakeConnection()
    scene.join(silent)
    await trio.sleep(KEEPALIVE_INTERVAL + 6)
    assert await scene.chosen() is silent
    lively = FakeConnection()
    scene.join(lively, 400)
    assert await scene.chosen() is lively


async def test_nobody_gets_more_than_the_tunnel_may_have(scene: Scene, autojump_clock: Clock) -> None:
    scene.join(FakeConnection(), 499)
    scene.join(FakeConnection(max_streams=7), 6)
    for _ in range(3):
        scene.hold()
    await blocked()
    assert scene.passages == [500, 7]
    await trio.sleep(PATIENCE + 1)
    assert (scene.passages, scene.refused) == ([500, 7], 1)


async def test_whoever_finds_all_full_gets_the_next_place_in_turn(scene: Scene, autojump_clock: Clock) -> None:
    scene.join(FakeConnection(), 499)
    first = scene.hold()
    await blocked()
    second = scene.hold()
    await blocked()
    third = scene.hold()
    await blocked()
    first.cancel()
    await blocked()
    assert scene.passages == [500]
    second.cancel()
    await blocked()
    assert scene.passages == [500]
    third.cancel()
    await blocked()
    assert scene.passages == [499], "the second had the place of the first, the third that of the second"


async def test_new_tunnel_takes_all_who_wait(scene: Scene, autojump_clock: Clock) -> None:
    scene.join(FakeConnection(), 500)
    for _ in range(50):
        scene.hold()
    await trio.sleep(PATIENCE - 1)
    assert scene.passages == [500]
    scene.join(FakeConnection())
    await blocked()
    assert (scene.passages, scene.refused) == ([500, 50], 0)


async def test_waiting_ends_after_five_seconds(scene: Scene, autojump_clock: Clock) -> None:
    scene.join(FakeConnection(), 500)
    with pytest.raises(NoUpstreamError, match="busy"):
        await scene.chosen()
    assert trio.current_time() == PATIENCE


async def test_waiting_ends_when_helm_goes_away(scene: Scene, autojump_clock: Clock) -> None:
    connection = FakeConnection()
    tunnel = scene.join(connection, 500)
    for _ in range(20):
        scene.hold()
    await blocked()
    connection.open = False
    tunnel.cancel()
    await blocked()
    assert (scene.refused, trio.current_time()) == (20, 0)


async def test_only_so_many_may_wait(scene: Scene, autojump_clock: Clock) -> None:
    scene.join(FakeConnection(), 500)
    for _ in range(MAX_WAITING + 5):
        scene.hold()
    await blocked()
    assert scene.refused == 5
    scene.join(FakeConnection())
    scene.join(FakeConnection())
    await blocked()
    assert scene.passages == [500, 500, 500]


async def test_waiter_who_leaves_keeps_no_place(scene: Scene, autojump_clock: Clock) -> None:
    scene.join(FakeConnection(), 499)
    holder, waiter = scene.hold(), scene.hold()
    await blocked()
    waiter.cancel()
    holder.cancel()
    await blocked()
    assert scene.passages == [499]
    last = scene.hold()
    await blocked()
    assert scene.passages == [500]
    last.cancel()


async def test_tunnel_that_fails_is_withdrawn() -> None:
    upstreams = Upstreams()
    with pytest.raises(ZeroDivisionError), upstreams.joined(FakeConnection()):  # type: ignore[arg-type]
        raise ZeroDivisionError
    assert len(upstreams) == 0
