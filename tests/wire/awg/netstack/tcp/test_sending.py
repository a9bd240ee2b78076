"""What is sent when: windows and keepalive (RFC 9293 §3.8), timers (RFC 6298), probes (RFC 8985 §7)."""

from __future__ import annotations

import attrs
import pytest

from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.queueing import SendQueue
from pharos.wire.awg.netstack.tcp.segment import FIN
from pharos.wire.awg.netstack.tcp.states import State
from tests.wire.awg.netstack.tcp.playing import OPTIONS, SIZE, established, seq_of, spans, words
from tests.wire.awg.netstack.tcp.simulated import CONFIG, LATENCY, connected, pattern

TRIP = 0.02
RTO = TRIP + 0.2


def test_a_connection_begins_with_ten_segments() -> None:
    assert spans(established().writes(100_000)) == [(1 + at * SIZE, 1 + (at + 1) * SIZE) for at in range(10)]


def test_what_is_acknowledged_doubles_the_window() -> None:
    play = established()
    play.writes(100_000)
    play.now += TRIP
    assert len(play.receives(ack=1 + 10 * SIZE)) + len(play.waits(TRIP)) == 20


def test_small_writes_go_at_once_and_are_put_together_when_they_wait() -> None:
    play = established()
    assert [len(play.writes(100)) for _ in range(3)] == [1, 1, 1]
    play.writes(100_000)
    for _ in range(50):
        play.writes(30)
    waiting = len(play.got)
    while play.connection.unsent:
        play.receives(ack=seq_of(play.got[-1]) + len(play.got[-1].payload))
        play.waits(TRIP)
    assert all(len(each.payload) == SIZE for each in play.got[waiting:-1] if each.payload)


def test_the_last_of_what_was_written_is_pushed() -> None:
    play = established()
    assert [words(each) for each in play.writes(2 * SIZE + 1)] == ["ACK", "ACK", "PSH ACK"]


def test_nagle_waits_for_the_acknowledgement_if_asked() -> None:
    play = established(attrs.evolve(CONFIG, nagle=True))
    assert len(play.writes(10)) == 1
    assert play.writes(10) == []
    assert [len(each.payload) for each in play.writes(SIZE)] == [SIZE]
    play.now += TRIP
    assert [len(each.payload) for each in play.receives(ack=11 + SIZE)] == [10]


def test_a_large_window_does_not_go_at_once_and_goes_without_being_asked_again() -> None:
    play = established()
    play.connection.write(bytes(260_000), play.now)
    sent = play.sends()
    for _ in range(3):
        play.waits(TRIP)
        sent = play.receives(ack=seq_of(play.got[-1]) + len(play.got[-1].payload))
    assert 0 < len(sent) < 20
    assert len(sent) + len(play.waits(TRIP)) == 80


def test_what_is_written_is_taken_as_far_as_there_is_room() -> None:
    play = established(window=0)
    room = play.connection.writable
    assert room == 256 * 1024
    assert play.connection.write(bytes(room + 1), play.now) == room
    assert play.connection.write(b"x", play.now) == 0
    assert play.connection.unsent == room


def test_what_was_written_may_change_afterwards() -> None:
    play = established(window=0)
    for size in (10, 10_000):
        data = bytearray(size)
        play.connection.write(data, play.now)
        data[:] = b"x" * size
    segments = play.receives(ack=1, window=0xFFFF)
    assert b"x" not in b"".join(each.payload for each in segments)


def test_a_silly_window_is_not_filled() -> None:
    play = established(window=10)
    (segment,) = play.writes(5000)
    assert len(segment.payload) == 10 << 7
    # Less than a segment, and less than half of the largest window.
    assert play.receives(ack=1 + (10 << 7), window=4) == []
    assert play.receives(ack=1 + (10 << 7), window=5) != []


def test_a_closed_window_is_asked_again_and_again() -> None:
    play = established()
    play.receives(ack=1, window=0)
    assert play.writes(1000) == []
    start, times = play.now, []
    for _ in range(4):
        play.now = play.connection.next_deadline()
        play.connection.tick(play.now)
        (probe,) = play.sends()
        assert (seq_of(probe), probe.payload) == (0, b"")
        times.append(round(play.now - start, 3))
        play.receives(ack=1, window=0)
    assert times == pytest.approx([RTO * (2**n - 1) for n in range(1, 5)], rel=0.2)
    (segment,) = play.receives(ack=1, window=100)
    assert len(segment.payload) == 1000


def test_a_window_that_stays_closed_lasts_as_long_as_it_is_answered() -> None:
    play = established()
    play.receives(ack=1, window=0)
    play.writes(1000)
    for _ in range(60):
        assert play.waits(60)
        play.receives(ack=1, window=0)
    assert play.connection.failure is None
    play.waits(CONFIG.user_timeout + 120)
    assert isinstance(play.connection.failure, TimeoutError)


def test_a_window_that_shrinks_is_lived_with() -> None:
    play = established()
    play.writes(10 * SIZE)
    play.receives(ack=1 + SIZE, window=0)
    assert play.writes(10) == []
    assert play.receives(ack=1 + 10 * SIZE, window=10)


def test_an_older_segment_does_not_change_the_window() -> None:
    play = established()
    play.receives(seq=1, ack=1, payload=bytes(100), window=0)
    play.receives(seq=1, ack=1, window=0xFFFF)
    assert play.writes(100) == []


def test_a_window_counts_from_what_was_acknowledged_with_it() -> None:
    """A retransmission of the peer's has older octets and a newer acknowledgement."""
    play = established()
    play.receives(seq=1, ack=1, payload=bytes(100))
    play.receives(seq=101, ack=1, payload=bytes(100), window=40)
    play.writes(40 << 7)
    play.receives(seq=1, ack=1 + (40 << 7), payload=bytes(100), window=0)
    assert play.writes(5000) == []


def test_an_acknowledgement_stays_inside_a_window_that_was_drawn_in() -> None:
    play = established()
    play.writes(3 * SIZE)
    play.receives(ack=1 + SIZE, window=1)
    (ack,) = play.receives(seq=11, ack=1 + SIZE, window=1, payload=b"early")
    assert seq_of(ack) == 1 + SIZE + 128


def test_a_lost_tail_is_probed_for_after_two_round_trips() -> None:
    play = established()
    play.writes(3 * SIZE)
    probes = play.waits(2 * TRIP + 0.005)
    assert spans(probes) == [(1 + 2 * SIZE, 1 + 3 * SIZE)]
    play.now += TRIP
    assert spans(play.receives(ack=1, blocks=((1 + 2 * SIZE, 1 + 3 * SIZE),)))[0] == (1, 1 + SIZE)


def test_a_probe_sends_new_octets_where_there_are_some() -> None:
    play = established()
    play.writes(100_000)
    (probe,) = play.waits(2 * TRIP + 0.005)
    assert spans([probe]) == [(1 + 10 * SIZE, 1 + 11 * SIZE)]


def test_one_probe_is_followed_by_the_timer() -> None:
    play = established()
    play.writes(SIZE)
    first = play.connection.next_deadline()
    assert first - play.now == pytest.approx(RTO, abs=0.05)
    assert len(play.waits(0.3)) == 1
    again = play.waits(60)
    assert 6 <= len(again) <= 9
    assert {seq_of(each) for each in again} == {1}


def test_a_probe_that_has_repaired_a_loss_costs_as_much_as_one() -> None:
    play = established()
    play.writes(4 * SIZE)
    before = play.connection._sender.cubic.window
    play.waits(2 * TRIP + 0.005)
    play.writes(SIZE)
    play.receives(ack=1 + 5 * SIZE)
    assert play.connection._sender.cubic.window < before


def test_a_probe_that_was_superfluous_costs_nothing() -> None:
    play = established()
    play.writes(4 * SIZE)
    play.waits(2 * TRIP + 0.005)
    before = play.connection._sender.cubic.window
    play.receives(ack=1 + 4 * SIZE, blocks=((1 + 3 * SIZE, 1 + 4 * SIZE),))
    assert play.connection._sender.cubic.window >= before


def test_without_selective_acknowledgements_there_are_no_probes() -> None:
    play = established(syn=attrs.evolve(OPTIONS, sack=False))
    play.writes(3 * SIZE)
    assert play.connection.next_deadline() - play.now == pytest.approx(RTO, abs=0.05)


def test_nobody_answers_for_five_minutes_and_it_is_given_up() -> None:
    play = established()
    play.writes(1000)
    play.waits(CONFIG.user_timeout - 1)
    assert play.connection.state is State.ESTABLISHED
    last = play.waits(2)
    assert words(last[-1]) == "RST ACK"
    assert isinstance(play.connection.failure, TimeoutError)


def test_the_window_is_small_again_after_a_long_silence() -> None:
    play = established()
    sent = play.writes(260_000)
    while play.connection.unsent:
        play.now += TRIP
        sent = play.receives(ack=seq_of(sent[-1]) + len(sent[-1].payload))
    play.waits(1)
    assert len(play.writes(200_000)) == 10


def test_an_idle_peer_is_asked_whether_it_lives() -> None:
    play = established()
    assert play.waits(CONFIG.keepalive_idle - 1) == []
    (probe,) = play.waits(2)
    assert (seq_of(probe), probe.payload, words(probe)) == (0, b"", "ACK")
    play.receives(ack=1)
    assert play.waits(CONFIG.keepalive_idle - 2) == []
    assert len(play.waits(CONFIG.keepalive_interval * CONFIG.keepalive_probes - 1)) == CONFIG.keepalive_probes
    play.waits(60)
    assert isinstance(play.connection.failure, TimeoutError)


def test_nobody_is_asked_if_it_is_not_wanted() -> None:
    play = established(TcpConfig(keepalive_idle=None))
    assert play.waits(100_000) == []


def test_at_most_so_many_packets_are_given_as_were_asked_for() -> None:
    play = established()
    play.connection.write(bytes(100_000), play.now)
    assert [len(play.connection.take(play.now, 4)) for _ in range(4)] == [4, 4, 2, 0]


def test_a_path_that_takes_less_gets_smaller_packets_at_once() -> None:
    play = established()
    sent = play.writes(4 * SIZE)
    play.connection.set_mss(1280)
    again = play.sends()
    smaller = 1280 - 52
    assert all(len(each.payload) <= smaller for each in again)
    assert spans(again)[0] == (1, 1 + smaller)
    assert spans(again)[-1][1] == spans(sent)[-1][1]
    assert play.connection._sender.cubic.window == pytest.approx(10 * SIZE)
    assert len(play.receives(ack=spans(sent)[-1][1])) == 0
    assert [len(each.payload) for each in play.writes(3 * smaller)] == [smaller] * 3


def test_a_path_that_claims_to_take_more_or_nothing_is_not_believed() -> None:
    play = established()
    play.connection.set_mss(9000)
    play.connection.set_mss(1)
    assert len(play.writes(1000)[0].payload) == 88 - 12


def test_a_fin_is_among_what_is_sent_smaller() -> None:
    play = established()
    play.connection.write(bytes(2 * SIZE), play.now)
    play.connection.write_eof(play.now)
    play.sends()
    play.connection.set_mss(1280)
    again = play.sends()
    assert [bool(each.flags & FIN) for each in again] == [False] * (len(again) - 1) + [True]
    play.receives(ack=2 * SIZE + 2)
    assert play.connection.state is State.FIN_WAIT_2


def test_another_path_gets_what_is_missing_at_once() -> None:
    play = established()
    play.writes(5 * SIZE)
    play.waits(100)
    assert play.connection.next_deadline() - play.now > 1
    play.connection.path_changed(play.now)
    again = play.sends()
    assert spans(again)[0] == (1, 1 + SIZE)
    assert len(again) == 5
    play.now += 0.1
    play.receives(ack=1 + 5 * SIZE)
    assert play.connection.unsent == 0


def test_another_path_is_asked_for_its_window_at_once() -> None:
    play = established()
    play.receives(ack=1, window=0)
    play.writes(1000)
    play.waits(100)
    play.connection.path_changed(play.now)
    assert len(play.sends()) == 1


def test_a_path_that_is_away_for_a_while_is_survived() -> None:
    path = connected()
    path.dialler.outgoing = pattern(500_000)
    away = (0.6, 90.0)
    path.filter = lambda sent: [] if away[0] < sent.at < away[1] else [LATENCY]
    path.run(until=90.0)
    assert 0 < len(path.listener.received) < 500_000
    for end in path.ends:
        end.connection.path_changed(path.now)
    path.run(until=91.0)
    assert path.listener.received == path.dialler.outgoing


@pytest.mark.parametrize("sizes", [[1], [4095, 1, 4096], [10_000, 3, 10_000], [100] * 200])
def test_a_queue_gives_back_what_was_put_in(sizes: list[int]) -> None:
    queue, whole, cut = SendQueue(), pattern(sum(sizes)), b""
    at = 0
    for size in sizes:
        queue.write(whole[at : at + size])
        at += size
    while queue.length:
        cut += bytes(queue.cut(min(1368, queue.length)))
    assert cut == whole
