"""A sleep is seen by the clocks that disagree about it."""

from __future__ import annotations

import trio
import trio.testing

from pharos.helm.fleet.wake import GAP, LOOK_EVERY, Wakes, slept


async def test_growing_gap_is_a_wake_and_a_constant_one_is_none(autojump_clock: trio.testing.MockClock) -> None:
    wakes, gap = Wakes(), 1000.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wakes.run, lambda: gap)
        await trio.sleep(10 * LOOK_EVERY)
        assert wakes.count == 0
        gap += GAP
        await trio.sleep(2 * LOOK_EVERY)
        assert wakes.count == 0, "a short sleep is nobody's affair"
        gap += GAP + 1
        await wakes.wait(0)
        await trio.sleep(10 * LOOK_EVERY)
        assert wakes.count == 1
        nursery.cancel_scope.cancel()


async def test_who_sleeps_is_woken_by_a_wake(autojump_clock: trio.testing.MockClock) -> None:
    wakes, gap = Wakes(), 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wakes.run, lambda: gap)
        began = trio.current_time()
        await wakes.sleep(3600)
        assert trio.current_time() - began == 3600
        nursery.start_soon(wakes.sleep, 3600)
        await trio.testing.wait_all_tasks_blocked()
        began, gap = trio.current_time(), 3600.0
        await wakes.sleep(3600)
        assert trio.current_time() - began <= LOOK_EVERY
        nursery.cancel_scope.cancel()


async def test_wait_ends_with_a_wake_or_with_what_it_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    wakes, gap, came = Wakes(), 0.0, trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wakes.run, lambda: gap)
        await trio.sleep(LOOK_EVERY)
        gap = GAP + 1
        async with wakes.ending():
            await came.wait()
        assert (wakes.count, came.is_set()) == (1, False)
        came.set()
        async with wakes.ending():
            await came.wait()
        assert wakes.count == 1
        nursery.cancel_scope.cancel()


def test_this_machine_has_slept_no_less_than_nothing() -> None:
    assert slept() >= 0
