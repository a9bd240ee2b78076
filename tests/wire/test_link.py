"""Links are redialled, refused or cooled down, on virtual time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.link import CRASH_COOL_DOWN, DELAY_CAP, Backoff, Link, LinkState, run_link


class UpFor:
    """A link that stays up for some seconds, then meets its fate."""

    def __init__(self, seconds: float, fate: Exception | None = None) -> None:
        self.seconds = seconds
        self.fate = fate

    async def run(self) -> None:
        await trio.sleep(self.seconds)
        if self.fate is not None:
            raise self.fate


class Script:
    """Dials that meet, one after the other, what the test wrote down; then a link that stays."""

    def __init__(self, *fates: Exception | Link) -> None:
        self.fates = list(fates)
        self.dialled_at: list[float] = []
        self.start = trio.current_time()

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Link]:
        self.dialled_at.append(round(trio.current_time() - self.start, 6))
        fate = self.fates.pop(0) if self.fates else UpFor(float("inf"))
        if isinstance(fate, Exception):
            raise fate
        yield fate


def exact() -> Backoff:
    return Backoff(random=lambda: 1.0)


async def run_for(seconds: float, link: Callable[[], object]) -> None:
    with trio.move_on_after(seconds):
        await link()  # type: ignore[misc]


async def test_link_redials_after_loss_with_doubling_delays(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(LinkLostError("1"), LinkLostError("2"), LinkLostError("3"), UpFor(100), LinkLostError("4"))
    await run_for(200, lambda: run_link(script.dial, backoff=exact(), name="a"))
    assert script.dialled_at == [0, 1, 3, 7, 108, 110]


async def test_delay_is_capped(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(*[LinkLostError("gone")] * 12)
    await run_for(1000, lambda: run_link(script.dial, backoff=exact(), name="a"))
    gaps = [b - a for a, b in zip(script.dialled_at, script.dialled_at[1:], strict=False)]
    assert gaps[:5] == [1, 2, 4, 8, 16]
    assert set(gaps[5:]) == {DELAY_CAP}


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40))
def test_jitter_is_full_and_never_above_the_cap(draws: list[float]) -> None:
    rest = iter(draws)
    backoff = Backoff(random=lambda: next(rest))
    for attempt, draw in enumerate(draws):
        assert backoff.next() == pytest.approx(draw * min(DELAY_CAP, 2.0**attempt))


async def test_refused_link_is_not_redialled(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(LinkLostError("1"), LinkRefusedError("wrong fleet"))
    reports: list[tuple[LinkState, str]] = []
    with pytest.raises(LinkRefusedError, match="wrong fleet"):
        await run_link(script.dial, backoff=exact(), name="a", report=lambda s, d: reports.append((s, d)))
    assert script.dialled_at == [0, 1]
    assert reports[-1] == (LinkState.REFUSED, "wrong fleet")


async def test_crashed_link_is_logged_and_cooled_down(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script(UpFor(5, ZeroDivisionError("bug")))
    reports: list[LinkState] = []
    await run_for(100, lambda: run_link(script.dial, backoff=exact(), name="a", report=lambda s, _d: reports.append(s)))
    assert script.dialled_at == [0, 5 + CRASH_COOL_DOWN]
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert LinkState.CRASHED in reports
    caplog.clear()


async def test_loss_in_an_exception_group_is_still_a_loss(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(ExceptionGroup("nursery", [LinkLostError("a"), ExceptionGroup("inner", [LinkLostError("b")])]))
    await run_for(50, lambda: run_link(script.dial, backoff=exact(), name="a"))
    assert script.dialled_at == [0, 1]


async def test_refusal_wins_over_loss_in_one_group(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(ExceptionGroup("nursery", [LinkLostError("a"), LinkRefusedError("no")]))
    with pytest.raises(LinkRefusedError):
        await run_link(script.dial, backoff=exact(), name="a")


async def test_cancellation_together_with_a_loss_ends_quietly(autojump_clock: trio.testing.MockClock) -> None:
    class LosesWhenCancelled:
        async def run(self) -> None:
            async with trio.open_nursery() as nursery:

                async def lose() -> None:
                    try:
                        await trio.sleep_forever()
                    finally:
                        raise LinkLostError("closed while cancelled")

                nursery.start_soon(lose)
                nursery.start_soon(trio.sleep_forever)

    script = Script(LosesWhenCancelled())
    with trio.move_on_after(5) as scope:
        await run_link(script.dial, backoff=exact(), name="a")
    assert scope.cancelled_caught
    assert script.dialled_at == [0]


async def test_link_that_ends_by_itself_is_redialled(autojump_clock: trio.testing.MockClock) -> None:
    script = Script(UpFor(3))
    await run_for(60, lambda: run_link(script.dial, backoff=exact(), name="a"))
    assert script.dialled_at == [0, 4]
