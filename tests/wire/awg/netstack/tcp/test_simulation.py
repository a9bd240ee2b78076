"""Two ends of ours on a path of any kind: everything arrives, in order, once, and both come to an end."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pharos.wire.awg.netstack.tcp.flow import Flow
from tests.wire.awg.netstack.tcp.simulated import CONFIG, FLOW4, FLOW6, LATENCY, Path, Sent, pattern

PATIENT = attrs.evolve(CONFIG, user_timeout=7200.0, connect_timeout=7200.0)


def lossy(seed: int, *, loss: float = 0.0, duplication: float = 0.0, jitter: float = 0.0):
    """Return a filter for a path."""
    source = random.Random(seed)

    def judge(sent: Sent) -> list[float]:
        copies = 2 if source.random() < duplication else 1
        return [LATENCY + source.random() * jitter for _ in range(copies) if source.random() >= loss]

    return judge


def check_delivered(path: Path, *, failures: int = 0) -> None:
    assert path.listener.received == path.dialler.outgoing
    assert path.dialler.received == path.listener.outgoing
    found = [end.connection.failure for end in path.ends if end.connection.failure is not None]
    assert len(found) <= failures
    assert all(isinstance(failure, TimeoutError) for failure in found)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    loss=st.sampled_from([0.0, 0.01, 0.05, 0.2]),
    duplication=st.sampled_from([0.0, 0.02, 0.2]),
    jitter=st.sampled_from([0.0, 0.001, 0.02, 0.2]),
    isn=st.sampled_from([0, 1000, 2**31 - 5000, 2**32 - 1, 2**32 - 30_000]),
    up=st.integers(0, 120_000),
    down=st.integers(0, 60_000),
    flow=st.sampled_from([FLOW4, FLOW6]),
)
@example(seed=128, loss=0.2, duplication=0.2, jitter=0.2, isn=2**32 - 1, up=120_000, down=60_000, flow=FLOW4)
def test_all_arrives_whatever_the_path_does(
    seed: int, loss: float, duplication: float, jitter: float, isn: int, up: int, down: int, flow: Flow
) -> None:
    path = Path(flow=flow, config=PATIENT, isn=isn)
    path.keep_sent = False
    path.filter = lossy(seed, loss=loss, duplication=duplication, jitter=jitter)
    path.dialler.outgoing, path.listener.outgoing = pattern(up), pattern(down, 3)
    path.run()
    assert path.is_over
    # That its last FIN has arrived one end may never hear, until the other has waited long enough.
    check_delivered(path, failures=1 if loss else 0)


@pytest.mark.parametrize("window", [3_000, 20_000])
def test_small_buffers_are_enough(window: int) -> None:
    config = attrs.evolve(PATIENT, receive_buffer=window, receive_window=window, send_buffer=window)
    path = Path(config=config)
    path.filter = lossy(3, loss=0.02, jitter=0.005)
    path.dialler.outgoing = path.listener.outgoing = pattern(100_000)
    path.run()
    check_delivered(path)


@pytest.mark.parametrize(("one", "other"), [(1420, 1280), (576, 1420), (9000, 1420)])
def test_ends_with_other_packets_understand_each_other(one: int, other: int) -> None:
    path = Path(config=attrs.evolve(CONFIG, mtu=one), listener_config=attrs.evolve(CONFIG, mtu=other))
    path.dialler.outgoing = path.listener.outgoing = pattern(50_000)
    path.run()
    check_delivered(path)
    assert max(len(sent.packet) for sent in path.sent) <= min(one, other)


def test_a_path_that_becomes_narrower_is_told_and_goes_on() -> None:
    path = Path()
    path.dialler.outgoing = pattern(400_000)
    source = path.dialler

    def judge(sent: Sent) -> list[float]:
        if sent.at > 0.1 and len(sent.packet) > 1300:
            source.connection.set_mss(1300)
            return []
        return [LATENCY]

    path.filter = judge
    path.run()
    check_delivered(path)


def test_a_window_that_opened_unheard_is_asked_for() -> None:
    path = Path(config=attrs.evolve(CONFIG, receive_window=20_000, receive_buffer=20_000))
    path.dialler.outgoing = pattern(60_000)
    path.listener.reads = False
    path.run(until=2.0)
    assert path.listener.connection.readable <= 20_000
    # The packet that says so is lost.
    path.listener.reads = True
    path.filter = lambda sent: [] if sent.at < 2.5 else [LATENCY]
    path.pump(path.listener)
    path.run()
    check_delivered(path)


def goodput(*, loss: float, size: int, seed: int) -> float:
    """Return octets a second, over a path of 20 ms without any other limit."""
    path = Path()
    path.keep_sent = False
    path.filter = lossy(seed, loss=loss)
    path.dialler.outgoing = pattern(size)
    path.run_while(lambda: len(path.listener.received) < size)
    return size / path.now


def test_one_loss_in_a_hundred_costs_what_the_response_function_says() -> None:
    # CUBIC's, where it grows as Reno does: 1.2 windows' worth over the root of the loss (RFC 9438 §5.1), as Linux's is.
    ideal = 1368 / 0.02 * 1.2 / 0.01**0.5
    found = sum(goodput(loss=0.01, size=3_000_000, seed=seed) for seed in range(4)) / 4
    assert found >= 0.8 * ideal


@pytest.mark.parametrize("jitter", [0.002, 0.004])
def test_reordering_alone_costs_little(jitter: float) -> None:
    path = Path()
    path.keep_sent = False
    path.filter = lossy(1, jitter=jitter)
    path.dialler.outgoing = pattern(5_000_000)
    path.run_while(lambda: len(path.listener.received) < 5_000_000)
    assert 5_000_000 / path.now >= 0.6 * goodput(loss=0.0, size=5_000_000, seed=1)


def test_a_full_queue_is_not_filled_to_the_brim() -> None:
    """A bottleneck of 20 Mbit/s with room for 100 packets: nearly all of it is used, and little is lost."""
    path = Path()
    path.keep_sent = False
    rate, room, free_at, lost, count = 2_500_000, 100, 0.0, 0, 0

    def judge(sent: Sent) -> list[float]:
        nonlocal free_at, lost, count
        if sent.by is not path.dialler:
            return [LATENCY]
        count += 1
        if (free_at - sent.at) * rate > room * 1420:
            lost += 1
            return []
        free_at = max(free_at, sent.at) + len(sent.packet) / rate
        return [free_at - sent.at + LATENCY]

    path.filter = judge
    path.dialler.outgoing = pattern(20_000_000)
    path.run_while(lambda: len(path.listener.received) < 20_000_000)
    assert 20_000_000 / path.now >= 0.85 * rate
    assert lost <= 0.02 * count
