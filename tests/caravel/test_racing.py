"""A race over ways: the first that leads there wins, whatever the others do, and nothing of them is left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pharos.caravel.racing import NEXT_AFTER, NEXT_AFTER_PROGRESS, AllFailedError, Way, open_first
from pharos.wire.errors import LinkLostError

Opener = Callable[[Callable[[], None]], AbstractAsyncContextManager[str]]


class Ways:
    """Ways that do as they are told, and what became of them."""

    def __init__(self) -> None:
        self.events: list[tuple[float, str]] = []
        self._start = trio.current_time()

    def note(self, what: str) -> None:
        self.events.append((round(trio.current_time() - self._start, 3), what))

    def way(
        self,
        name: str,
        *,
        after: float = 0,
        fails: Exception | None = None,
        progress_at: float | None = None,
        closing: Exception | None = None,
        **more: Any,
    ) -> Way[str]:
        @asynccontextmanager
        async def open_(progressed: Callable[[], None]) -> AsyncIterator[str]:
            self.note(f"{name} begun")
            try:
                if progress_at is not None:
                    await trio.sleep(progress_at)
                    progressed()
                await trio.sleep(after)
                if fails is not None:
                    raise fails
                yield name
                if closing is not None:
                    raise closing
                self.note(f"{name} closed well")
            finally:
                self.note(f"{name} ended")

        return Way(open=open_, name=name, **more)


SILENT = 10_000.0


async def winner(*ways: Way[str]) -> tuple[int, str]:
    async with open_first(ways) as won:
        return won


async def test_first_way_that_leads_there_is_the_only_one(autojump_clock: MockClock) -> None:
    ways = Ways()
    assert await winner(ways.way("a"), ways.way("b")) == (0, "a")
    assert ways.events == [(0, "a begun"), (0, "a closed well"), (0, "a ended")]


async def test_silent_way_costs_a_moment_and_is_closed_when_another_wins(autojump_clock: MockClock) -> None:
    ways = Ways()
    async with open_first([ways.way("a", after=SILENT), ways.way("b", after=0.1)]) as won:
        assert won == (1, "b")
        await trio.testing.wait_all_tasks_blocked()
        assert ways.events == [(0, "a begun"), (NEXT_AFTER, "b begun"), (NEXT_AFTER + 0.1, "a ended")]
    assert ways.events[-1] == (NEXT_AFTER + 0.1, "b ended")


async def test_way_that_fails_has_the_next_begun_at_once(autojump_clock: MockClock) -> None:
    ways = Ways()
    lost = LinkLostError("gone")
    assert await winner(ways.way("a", after=0.05, fails=lost), ways.way("b")) == (1, "b")
    assert (0.05, "b begun") in ways.events


async def test_way_on_which_somebody_answers_has_longer(autojump_clock: MockClock) -> None:
    ways = Ways()
    assert await winner(ways.way("a", progress_at=0.2, after=1.5), ways.way("b")) == (0, "a")
    assert not [event for event in ways.events if event[1] == "b begun"]
    late = Ways()
    assert await winner(late.way("a", progress_at=0.2, after=SILENT), late.way("b")) == (1, "b")
    assert late.events[1] == (0.2 + NEXT_AFTER_PROGRESS, "b begun")


async def test_slow_way_may_still_win(autojump_clock: MockClock) -> None:
    ways = Ways()
    assert await winner(ways.way("a", after=0.5), ways.way("b", after=SILENT)) == (0, "a")


async def test_last_resort_waits_for_all_or_its_time(autojump_clock: MockClock) -> None:
    lost = LinkLostError("gone")
    ways = Ways()
    plan = [ways.way("a", after=1, fails=lost), ways.way("b", after=0.1, fails=lost)]
    assert await winner(*plan, ways.way("c", next_after=2, last_resort=True)) == (2, "c")
    assert (1, "c begun") in ways.events
    silent = Ways()
    plan = [silent.way("a", after=SILENT), silent.way("b", after=0.1, fails=lost)]
    assert await winner(*plan, silent.way("c", next_after=2, last_resort=True)) == (2, "c")
    assert (NEXT_AFTER + 2, "c begun") in silent.events


async def test_two_that_are_there_in_the_same_moment_are_one_winner(autojump_clock: MockClock) -> None:
    ways = Ways()
    async with open_first([ways.way("a", after=NEXT_AFTER + 1), ways.way("b", after=1)]) as (_, name):
        await trio.testing.wait_all_tasks_blocked()
        ended = [what for _, what in ways.events if what.endswith("ended")]
        assert ended == [f"{'b' if name == 'a' else 'a'} ended"]


async def test_all_that_failed_are_told_in_their_order(autojump_clock: MockClock) -> None:
    ways = Ways()
    first, second = LinkLostError("late"), OSError("at once")
    with pytest.raises(AllFailedError, match="a: late; b: at once") as caught:
        await winner(ways.way("a", after=5, fails=first), ways.way("b", fails=second))
    assert [failure for _, failure in caught.value.failures] == [first, second]


async def test_what_the_block_raises_comes_out_as_it_is_and_closes_the_winner(autojump_clock: MockClock) -> None:
    ways = Ways()
    with pytest.raises(ZeroDivisionError):
        async with open_first([ways.way("a")]):
            raise ZeroDivisionError
    assert ways.events[-1][1] == "a ended"
    assert "a closed well" not in {what for _, what in ways.events}


async def test_what_closing_raises_comes_out_after_the_block(autojump_clock: MockClock) -> None:
    ways = Ways()
    with pytest.raises(LinkLostError, match="no goodbye"):
        await winner(ways.way("a", closing=LinkLostError("no goodbye")))


async def test_bug_in_a_way_is_no_failure_of_it(autojump_clock: MockClock) -> None:
    ways = Ways()
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await winner(ways.way("a", fails=ZeroDivisionError()), ways.way("b"))


async def test_cancelled_race_leaves_nothing(autojump_clock: MockClock) -> None:
    ways = Ways()
    with trio.move_on_after(1) as scope:
        await winner(ways.way("a", after=SILENT), ways.way("b", after=SILENT))
    assert scope.cancelled_caught
    assert {what for _, what in ways.events} == {"a begun", "b begun", "a ended", "b ended"}
