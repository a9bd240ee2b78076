"""Three missed heartbeats are one event, a sleep of our own is none."""

from __future__ import annotations

import trio
import trio.testing

from pharos.helm.fleet.reach import HEARTBEAT, MISSES, Reach, run_reach
from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import Board
from pharos.helm.live.hub import Hub
from pharos.wire.link import LinkState

PATIENCE = MISSES * HEARTBEAT


def test_silence_of_three_heartbeats_is_told_once_and_so_is_the_return() -> None:
    reach = Reach()
    assert reach.look({"a": True, "b": True}, 0) == ([], [])
    assert reach.look({"a": True, "b": False}, 10) == ([], [])
    assert reach.look({"a": True, "b": False}, PATIENCE - 1) == ([], [])
    assert reach.look({"a": True, "b": False}, PATIENCE) == (["b"], [])
    assert reach.look({"a": True, "b": False}, 2 * PATIENCE) == ([], [])
    assert reach.look({"a": True, "b": True}, 3 * PATIENCE) == ([], ["b"])


def test_node_that_was_never_up_is_unreachable_after_as_long() -> None:
    reach = Reach()
    assert reach.look({"a": False}, 100) == ([], [])
    assert reach.look({"a": False}, 100 + PATIENCE) == (["a"], [])


def test_node_that_left_is_forgotten() -> None:
    reach = Reach()
    reach.look({"a": False}, 0)
    reach.look({}, 10)
    assert reach.look({"a": False}, PATIENCE) == ([], [])


def test_our_own_sleep_makes_nobody_unreachable() -> None:
    reach = Reach()
    reach.look({"a": True}, 0)
    reach.forgive(8 * 3600)
    assert reach.look({"a": False}, 8 * 3600 + 1) == ([], [])


async def test_unreachable_node_is_one_event_until_it_is_back(autojump_clock: trio.testing.MockClock) -> None:
    hub = Hub()
    board = Board(hub)
    board.report("n1", "amsterdam", LinkState.LOST, "no route")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_reach, board, Wakes())
        await trio.sleep(PATIENCE + 15)
        assert [event.kind for event in hub.recent()] == ["link_lost", "unreachable"]
        assert board.of("n1").unreachable
        board.report("n1", "amsterdam", LinkState.UP, "")
        await trio.sleep(15)
        assert not board.of("n1").unreachable
        nursery.cancel_scope.cancel()
