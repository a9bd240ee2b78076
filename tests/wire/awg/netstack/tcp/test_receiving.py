"""Acknowledgements and windows (RFC 9293 §3.8.6), timestamps (RFC 7323), what came out of order."""

from __future__ import annotations

import itertools
import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.netstack.tcp.reassembly import MAX_EARLY_PARTS, Reassembly
from tests.wire.awg.netstack.tcp.playing import MSS, SIZE, ack_of, established
from tests.wire.awg.netstack.tcp.simulated import CONFIG, connected, pattern


def test_a_lone_segment_is_acknowledged_after_forty_milliseconds() -> None:
    play = established()
    assert play.receives(seq=1, ack=1, payload=bytes(SIZE)) == []
    (ack,) = play.waits(0.041)
    assert ack_of(ack) == 1 + SIZE
    assert play.waits(10) == []


def test_every_second_segment_is_acknowledged_at_once() -> None:
    play = established()
    answers = [play.receives(seq=1 + at * SIZE, ack=1, payload=bytes(SIZE)) for at in range(6)]
    assert [len(each) for each in answers] == [0, 1, 0, 1, 0, 1]


def test_segments_that_come_together_are_acknowledged_together() -> None:
    play = established()
    for at in range(20):
        play.connection.receive(play.segment(0, seq=1 + at * SIZE, ack=1, payload=bytes(SIZE)), play.now)
    (ack,) = play.sends()
    assert ack_of(ack) == 1 + 20 * SIZE


def test_an_acknowledgement_goes_with_octets_where_there_are_some() -> None:
    play = established()
    play.receives(seq=1, ack=1, payload=b"question")
    (answer,) = play.writes(6)
    assert ack_of(answer) == 9
    assert play.waits(0.05) == [] or play.got[-1].payload


@pytest.mark.parametrize("seq", [1, 11])
def test_what_is_not_in_order_is_acknowledged_at_once(seq: int) -> None:
    play = established()
    play.receives(seq=1, ack=1, payload=bytes(10))
    play.receives(seq=21, ack=1, payload=bytes(10))
    (ack,) = play.receives(seq=seq, ack=1, payload=bytes(10))
    assert ack_of(ack) == (11 if seq == 1 else 31)


def test_the_window_shrinks_as_octets_wait_and_opens_when_they_are_read() -> None:
    play = established()
    left = CONFIG.receive_window
    at = 1
    while left >= 2 * SIZE:
        for _ in range(2):
            play.connection.receive(play.segment(0, seq=at, ack=1, payload=bytes(SIZE)), play.now)
            at += SIZE
        (ack,) = play.sends()
        left = ack.window << 7
        assert left == pytest.approx(CONFIG.receive_window - (at - 1), abs=128)
    assert play.connection.read(1, play.now)
    assert play.sends() == []
    play.connection.read(1 << 20, play.now)
    (update,) = play.sends()
    assert update.window << 7 >= CONFIG.receive_window


def test_what_has_no_room_is_not_taken() -> None:
    config = attrs.evolve(CONFIG, receive_buffer=10_000, receive_window=10_000)
    play = established(config)
    play.receives(seq=1, ack=1, payload=bytes(9_990))
    play.receives(seq=9_991, ack=1, payload=bytes(100))
    assert play.connection.readable == 10_000
    (ack,) = play.receives(seq=10_001, ack=1, payload=bytes(100))
    assert (ack_of(ack), ack.window) == (10_001, 0)
    # Its acknowledgement counts all the same (RFC 9293 §3.10.7.4).
    play.writes(10)
    play.receives(seq=10_001, ack=11, payload=bytes(100))
    assert play.connection.unsent == 0


def test_a_reader_that_keeps_up_gets_a_larger_window() -> None:
    path = connected()
    path.keep_sent = False
    path.dialler.outgoing = pattern(20_000_000)
    path.run_while(lambda: len(path.listener.received) < 20_000_000)
    assert path.listener.connection._receiver._buffer == CONFIG.receive_buffer


def test_a_reader_that_does_not_keep_up_keeps_the_small_one() -> None:
    path = connected()
    path.listener.reads = False
    path.dialler.outgoing = pattern(20_000_000)
    path.run(until=3)
    assert path.listener.connection.readable <= CONFIG.receive_window


def test_the_time_of_the_first_unacknowledged_segment_is_echoed() -> None:
    play = established()
    first = play.stamp + 5
    play.connection.receive(play.segment(0, seq=1, ack=1, payload=bytes(SIZE), timestamp=(first, 0)), play.now)
    play.connection.receive(
        play.segment(0, seq=1 + SIZE, ack=1, payload=bytes(SIZE), timestamp=(first + 9, 0)), play.now
    )
    (ack,) = play.sends()
    assert ack.timestamp is not None
    assert ack.timestamp[1] == first


def test_a_segment_of_before_is_not_taken_and_answered() -> None:
    play = established()
    (answer,) = play.receives(seq=1, ack=1, payload=b"old", timestamp=(play.stamp - 1, 0))
    assert ack_of(answer) == 1
    assert play.connection.readable == 0


def test_after_weeks_of_silence_a_timestamp_says_nothing() -> None:
    play = established(attrs.evolve(CONFIG, keepalive_idle=None))
    play.now += 25 * 86_400
    play.receives(seq=1, ack=1, payload=b"new", timestamp=(play.stamp - 1000, 0))
    assert play.connection.readable == 3


def test_timestamps_wrap() -> None:
    play = established()
    for at, stamp in enumerate((2**31 - 10, 2**32 - 20, 5)):
        play.stamp = stamp
        play.receives(seq=1 + at, ack=1, payload=b"abc"[at : at + 1])
        play.waits(0.05)
    assert play.connection.read(9, play.now) == b"abc"


def test_reading_gives_what_is_asked_for() -> None:
    play = established()
    play.receives(seq=1, ack=1, payload=pattern(1300))
    play.receives(seq=1301, ack=1, payload=pattern(1300, 1300))
    assert [play.connection.read(limit, play.now) for limit in (0, 1, 1299)] == [b"", b"\0", pattern(1299, 1)]
    assert play.connection.read(1 << 30, play.now) == pattern(1300, 1300)
    assert play.connection.read(1, play.now) == b""


def test_crumbs_take_no_more_memory_than_what_they_are() -> None:
    parts = Reassembly(0)
    for at in range(100_000):
        parts.take(at, b"x")
    assert parts.readable == 100_000
    assert len(parts._ready) < 50


def test_early_crumbs_are_bounded() -> None:
    parts = Reassembly(0)
    for at in range(3 * MAX_EARLY_PARTS):
        parts.take(10 + 2 * at, b"x")
    assert parts._parts <= MAX_EARLY_PARTS
    assert parts.early <= MAX_EARLY_PARTS
    assert len(parts.blocks(99)) <= 4


def test_early_octets_are_bounded_by_the_window() -> None:
    play = established()
    for at in range(2000):
        play.connection.receive(play.segment(0, seq=5 + at * MSS, ack=1, payload=bytes(MSS)), play.now)
    assert play.connection._receiver.parts.early <= CONFIG.receive_window


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 400),
    longest=st.integers(1, 60),
    first=st.sampled_from([0, 2**32 - 100, 7]),
)
def test_pieces_in_any_order_make_the_whole(seed: int, size: int, longest: int, first: int) -> None:
    source = random.Random(seed)
    data = pattern(size)
    parts = Reassembly(first)
    read = b""
    while parts.next < first + size:
        at = source.randrange(size)
        end = min(size, at + source.randint(1, longest))
        parts.take(first + at, data[at:end])
        if source.random() < 0.3:
            read += parts.read(source.randint(1, 30))
        islands = [(island.start, island.end) for island in parts._islands]
        assert all(one[1] < other[0] for one, other in itertools.pairwise(islands))
        assert all(island.start > parts.next for island in parts._islands)
        assert parts.early == sum(end - start for start, end in islands)
        assert parts._parts == sum(len(island.parts) for island in parts._islands)
        assert set(parts.blocks(4)) <= set(islands)
    assert read + parts.read(size) == data
    assert (parts.early, parts._parts, parts.readable) == (0, 0, 0)
