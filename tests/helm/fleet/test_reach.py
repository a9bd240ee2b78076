"""Three missed heartbeats are one event, a sleep of our own is none."""

from __future__ import annotations

import trio
import trio.testing

from pharos.helm.fleet.reach import HEARTBEAT, KIND, MISSES, Reach, run_reach
from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import Board
from pharos.helm.live.hub import Hub
from pharos.helm.store.alerts import standing_alert
from pharos.helm.store.database import Database
from pharos.wire.link import LinkState
from tests.support.helm import core_in_memory

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


class InlineStore:
    """Runs at once, for virtual time waits for no thread."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def run(self, function: object, *args: object) -> object:
        return function(self.db, *args)  # type: ignore[operator]


async def test_unreachable_node_raises_an_alert_that_its_return_clears(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with core_in_memory() as db:
        hub = Hub()
        board = Board(hub)
        board.report("n1", "amsterdam", LinkState.LOST, "no route")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_reach, InlineStore(db), board, Wakes())
            await trio.sleep(PATIENCE + 15)
            alert = standing_alert(db, KIND, "n1")
            assert alert is not None
            assert "amsterdam" in alert.text
            assert [event.kind for event in hub.recent()] == ["link_lost", "unreachable"]
            assert board.of("n1").unreachable
            board.report("n1", "amsterdam", LinkState.UP, "")
            await trio.sleep(15)
            assert standing_alert(db, KIND, "n1") is None
            assert not board.of("n1").unreachable
            nursery.cancel_scope.cancel()
