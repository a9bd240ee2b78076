"""New passages go to the emptiest tunnel that is up and has a place, and wait a little for one."""

from __future__ import annotations

import types
from contextlib import ExitStack

import attrs
import pytest
import trio
import trio.testing

from pharos.beacon.upstream import MAX_TUNNELS, MAX_WAITING, PATIENCE, SETTLE_TIME, NoUpstreamError, Upstreams
from pharos.wire.rpc.limits import KEEPALIVE_INTERVAL, TUNNEL_STREAMS

Clock = trio.testing.MockClock


@attrs.define(eq=False)
class FakeConnection:
    """As much of a connection as a choice needs."""

    open: bool = True
    max_streams: int = TUNNEL_STREAMS
    heard_at: float = attrs.field(factory=trio.current_time)
    answers: bool = True
    """Whether its helm lives."""
    lost: str = ""

    def ping(self) -> None:
        if self.answers:
            self.heard_at = trio.current_time()

    def lose(self, reason: str) -> None:
        self.open, self.lost = False, reason

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
    silent = FakeConnection(answers=False)
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


# -- helm comes back, or another one comes


async def test_newer_tunnel_comes_first_until_the_older_ones_answer(scene: Scene, autojump_clock: Clock) -> None:
    dead, alive = FakeConnection(answers=False), FakeConnection()
    scene.join(dead)
    scene.join(alive, 3)
    await trio.sleep(1)
    newest = FakeConnection()
    scene.join(newest, 400)
    assert await scene.chosen() is alive, "it has answered, and is emptier"
    alive.open = False
    assert await scene.chosen() is newest, "the dead one would be emptier"


async def settled(scene: Scene, *older: FakeConnection) -> list[bool]:
    """Let a helm come back beside older tunnels; return which of them have been ended by when that has settled."""
    for connection in older:
        scene.join(connection)
    await trio.sleep(1)
    newest = FakeConnection()
    scene.join(newest)
    scene.nursery.start_soon(scene.upstreams.settle, scene.upstreams._tunnels[-1])
    await trio.sleep(SETTLE_TIME - 1)
    assert not any(connection.lost for connection in older)
    await trio.sleep(2)
    assert newest.open
    return [bool(connection.lost) for connection in older]


async def test_tunnels_of_a_helm_that_died_end_ten_seconds_after_it_came_back(
    scene: Scene, autojump_clock: Clock
) -> None:
    assert SETTLE_TIME < 45
    assert await settled(scene, FakeConnection(answers=False), FakeConnection(answers=False)) == [True, True]


async def test_tunnels_that_a_living_helm_opens_on_purpose_are_left_alone(scene: Scene, autojump_clock: Clock) -> None:
    assert await settled(scene, FakeConnection(), FakeConnection()) == [False, False]


async def test_newest_tunnel_is_never_turned_away(scene: Scene, autojump_clock: Clock) -> None:
    tunnels = [FakeConnection(answers=number != 3) for number in range(MAX_TUNNELS)]
    for connection in tunnels:
        scene.join(connection)
        await trio.sleep(0.1)
    newest = FakeConnection()
    scene.join(newest)
    assert newest.open
    assert [connection.lost != "" for connection in tunnels] == [number == 3 for number in range(MAX_TUNNELS)]


OLD, NEW = "0" * 16, "1" * 16


def announce(scene: Scene, connection: FakeConnection, run: str) -> None:
    scene.upstreams.announce(connection, run)  # type: ignore[arg-type]


async def test_newest_run_of_helm_has_all_new_passages_while_it_is_here(scene: Scene, autojump_clock: Clock) -> None:
    old, new = FakeConnection(), FakeConnection()
    scene.join(old)
    announce(scene, old, OLD)
    assert await scene.chosen() is old
    leave = scene.join(new, 400)
    assert await scene.chosen() is old, "what it is has not been said yet"
    announce(scene, new, NEW)
    assert await scene.chosen() is new
    assert [tunnel.superseded.is_set() for tunnel in scene.upstreams._tunnels] == [True, False]
    # The older one dials once more, and stays the older one.
    again = FakeConnection()
    scene.join(again)
    announce(scene, again, OLD)
    assert await scene.chosen() is new
    # A helm that is full is waited for.
    new.max_streams = 400
    with pytest.raises(NoUpstreamError, match="busy"):
        await scene.chosen()
    # One that has gone is not.
    leave.cancel()
    await blocked()
    assert await scene.chosen() in {old, again}


async def test_tunnels_of_one_run_share_the_passages(scene: Scene, autojump_clock: Clock) -> None:
    first, second = FakeConnection(), FakeConnection()
    for connection in (first, second):
        scene.join(connection)
        announce(scene, connection, OLD)
    for _ in range(10):
        scene.hold()
    await blocked()
    assert scene.passages == [5, 5]
    assert not any(tunnel.superseded.is_set() for tunnel in scene.upstreams._tunnels)


async def test_helm_of_an_earlier_version_says_nothing_and_is_taken(scene: Scene, autojump_clock: Clock) -> None:
    first, second = FakeConnection(), FakeConnection()
    scene.join(first, 2)
    scene.join(second, 1)
    assert await scene.chosen() is second
