"""The bad line on virtual time."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.system.lab.impair import Impairment, Line


def send(line: Line, frames: Sequence[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Push frames at their times and return each that arrives with when it did."""
    arrived = []
    ahead = list(frames)
    while ahead or line.next_at < math.inf:
        now = min(line.next_at, ahead[0][0] if ahead else math.inf)
        arrived += [(now, frame) for frame in line.pop(now)]
        if ahead and ahead[0][0] == now:
            line.push(ahead.pop(0)[1], now)
    return arrived


def line(impairment: Impairment, seed: int = 1) -> Line:
    return Line(impairment, random.Random(seed).random)


def numbered(count: int, *, apart: float, size: int = 100) -> list[tuple[float, bytes]]:
    return [(number * apart, number.to_bytes(4, "big").ljust(size, b".")) for number in range(count)]


def test_perfect_line_passes_everything_at_once() -> None:
    frames = numbered(20, apart=0.001)
    assert send(line(Impairment()), frames) == frames


def test_delay_is_added_to_each_frame() -> None:
    frames = numbered(20, apart=0.001)
    arrived = send(line(Impairment(delay=0.25)), frames)
    assert [frame for _, frame in arrived] == [frame for _, frame in frames]
    for (sent, _), (at, _) in zip(frames, arrived, strict=True):
        assert at - sent == pytest.approx(0.25)


def test_jitter_stays_within_its_bounds_and_keeps_the_order() -> None:
    frames = numbered(200, apart=0.05)
    arrived = send(line(Impairment(delay=0.1, jitter=0.02)), frames)
    assert [frame for _, frame in arrived] == [frame for _, frame in frames]
    delays = [at - sent for (sent, _), (at, _) in zip(frames, arrived, strict=True)]
    assert 0.08 <= min(delays) < 0.085
    assert 0.115 < max(delays) <= 0.12


def test_loss_takes_its_share() -> None:
    bad = line(Impairment(loss=0.3))
    arrived = send(bad, numbered(10_000, apart=0.001))
    assert bad.counts.lost == 10_000 - len(arrived)
    assert 0.28 < bad.counts.lost / 10_000 < 0.32


def test_reordered_frames_overtake() -> None:
    bad = line(Impairment(delay=0.01, reorder=0.1))
    arrived = [int.from_bytes(frame[:4], "big") for _, frame in send(bad, numbered(1000, apart=0.001))]
    assert sorted(arrived) == list(range(1000))
    early = sum(number < max(arrived[:place], default=-1) for place, number in enumerate(arrived))
    assert early > 0
    assert 70 < bad.counts.reordered < 130


def test_rate_is_kept_and_a_full_queue_drops_the_newest() -> None:
    bad = line(Impairment(rate=10_000, queue=5_000))
    frames = [(0.0, frame) for _, frame in numbered(100, apart=0, size=1000)]
    arrived = send(bad, frames)
    # One frame is on the line at once, and five wait for it.
    assert [at for at, _ in arrived] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert [frame for _, frame in arrived] == [frame for _, frame in frames[:5]]
    assert bad.counts.overflowed == 95


def test_queue_smaller_than_a_frame_still_lets_single_frames_through() -> None:
    bad = line(Impairment(rate=1000, queue=10))
    assert len(send(bad, numbered(5, apart=1.0))) == 5


@pytest.mark.parametrize(
    "bad",
    [
        {"loss": 1.1},
        {"loss": -0.1},
        {"delay": -1},
        {"delay": 0.1, "jitter": 0.2},
        {"reorder": 0.1},
        {"rate": 0},
    ],
)
def test_impossible_lines_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Impairment(**bad)


@given(
    delay=st.floats(0, 2),
    wobble=st.floats(0, 1),
    loss=st.floats(0, 1),
    reorder=st.floats(0, 1),
    rate=st.floats(1e3, 1e9),
    gaps=st.lists(st.floats(0, 0.5), max_size=60),
    seed=st.integers(0, 2**32),
)
def test_every_frame_is_accounted_for_and_none_is_early(
    delay: float, wobble: float, loss: float, reorder: float, rate: float, gaps: list[float], seed: int
) -> None:
    impairment = Impairment(
        delay=delay, jitter=delay * wobble, loss=loss, reorder=reorder if delay else 0, rate=rate, queue=3000
    )
    bad = line(impairment, seed)
    sent: list[tuple[float, bytes]] = []
    for number, gap in enumerate(gaps):
        sent.append(((sent[-1][0] if sent else 0.0) + gap, number.to_bytes(4, "big") * 25))
    times = {frame: at for at, frame in sent}
    arrived = send(bad, sent)
    counts = bad.counts
    assert counts.passed == len(arrived)
    assert counts.passed + counts.lost + counts.overflowed == len(sent)
    assert len({frame for _, frame in arrived}) == len(arrived)
    early = sum(at < times[frame] + impairment.delay - impairment.jitter - 1e-9 for at, frame in arrived)
    assert early <= counts.reordered
