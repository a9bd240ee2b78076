"""RFC 9293 §3.6 and §3.10.4, RFC 2525 §2.17, RFC 6191."""

from __future__ import annotations

import errno
import math

import pytest

from pharos.wire.awg.netstack.tcp.segment import FIN, RST, SYN
from pharos.wire.awg.netstack.tcp.states import State
from tests.wire.awg.netstack.tcp.playing import OPTIONS, Play, ack_of, established, seq_of, spans, words
from tests.wire.awg.netstack.tcp.simulated import CONFIG, LATENCY, Path, Sent, connected, pattern


def fin_sent() -> Play:
    play = established()
    play.connection.write_eof(play.now)
    (fin,) = play.sends()
    assert (words(fin), seq_of(fin)) == ("FIN PSH ACK", 1)
    assert play.connection.state is State.FIN_WAIT_1
    return play


def test_a_fin_goes_with_the_last_octets() -> None:
    play = established()
    play.connection.write(b"last", play.now)
    play.connection.write_eof(play.now)
    (segment,) = play.sends()
    assert (segment.payload, words(segment)) == (b"last", "FIN PSH ACK")


def test_the_side_that_ends_first_waits_for_the_other_and_then_a_minute() -> None:
    play = fin_sent()
    play.receives(ack=2)
    assert play.connection.state is State.FIN_WAIT_2
    play.receives(ack=2, payload=b"still here")
    (ack,) = play.receives(FIN, seq=11, ack=2)
    assert ack_of(ack) == 12
    assert play.connection.state is State.TIME_WAIT
    assert play.connection.read(99, play.now) == b"still here"
    assert play.connection.at_eof
    play.waits(59.9)
    assert play.connection.state is State.TIME_WAIT
    play.waits(0.2)
    assert play.connection.state is State.CLOSED
    assert play.connection.failure is None


def test_the_side_that_ends_last_does_not_wait() -> None:
    play = established()
    (ack,) = play.receives(FIN, ack=1)
    assert ack_of(ack) == 2
    assert play.connection.state is State.CLOSE_WAIT
    assert play.connection.at_eof
    assert len(play.writes(100)) == 1
    play.connection.write_eof(play.now)
    play.sends()
    assert play.connection.state is State.LAST_ACK
    play.receives(seq=2, ack=102)
    assert play.connection.state is State.CLOSED
    assert play.connection.next_deadline() == math.inf


def test_both_may_end_at_once() -> None:
    play = fin_sent()
    (ack,) = play.receives(FIN, ack=1)
    assert ack_of(ack) == 2
    assert play.connection.state is State.CLOSING
    play.receives(seq=2, ack=2)
    assert play.connection.state is State.TIME_WAIT


def test_a_fin_that_acknowledges_ours_leads_to_time_wait_at_once() -> None:
    play = fin_sent()
    play.receives(FIN, ack=2)
    assert play.connection.state is State.TIME_WAIT


def test_a_fin_that_came_too_early_waits_for_the_gap() -> None:
    play = established()
    play.receives(FIN, seq=4, ack=1, payload=b"def")
    assert play.connection.state is State.ESTABLISHED
    (ack,) = play.receives(seq=1, ack=1, payload=b"abc")
    assert ack_of(ack) == 8
    assert play.connection.read(99, play.now) == b"abcdef"
    assert play.connection.at_eof


def test_octets_behind_a_fin_are_not_believed() -> None:
    play = established()
    play.receives(FIN, seq=1, ack=1, payload=b"abc")
    play.receives(seq=5, ack=1, payload=b"more")
    assert play.connection.read(99, play.now) == b"abc"
    assert play.connection.at_eof


def test_a_fin_before_octets_that_are_here_is_not_believed() -> None:
    play = established()
    play.receives(seq=101, ack=1, payload=bytes(10))
    play.receives(FIN, seq=1, ack=1, payload=bytes(50))
    assert play.connection.state is State.ESTABLISHED
    play.receives(seq=51, ack=1, payload=bytes(50))
    assert play.connection.readable == 110


def test_a_lost_fin_is_sent_again() -> None:
    path = Path()
    lost: list[Sent] = []

    def lose_first_fins(sent: Sent) -> list[float]:
        if sent.segment.flags & FIN and len(lost) < 2:
            lost.append(sent)
            return []
        return [LATENCY]

    path.filter = lose_first_fins
    path.run()
    assert path.is_over
    assert [end.connection.failure for end in path.ends] == [None, None]


def test_a_fin_that_comes_again_to_time_wait_is_acknowledged_and_waited_for_anew() -> None:
    play = fin_sent()
    play.receives(FIN, ack=2)
    play.waits(40)
    (ack,) = play.receives(FIN, ack=2)
    assert ack_of(ack) == 2
    play.waits(59)
    assert play.connection.state is State.TIME_WAIT


def test_a_new_connection_may_take_the_place_of_one_that_only_waits() -> None:
    play = fin_sent()
    assert not play.connection.may_be_replaced_by(play.segment(SYN, seq=5000, syn=OPTIONS))
    play.receives(FIN, ack=2)
    before = (play.stamp - 1, 0)
    assert not play.connection.may_be_replaced_by(play.segment(SYN, seq=5000, syn=OPTIONS, timestamp=before))
    assert not play.connection.may_be_replaced_by(play.segment(SYN, seq=0, syn=OPTIONS))
    assert play.connection.may_be_replaced_by(play.segment(SYN, seq=5000, syn=OPTIONS))
    after = (play.stamp + 1, 0)
    assert play.connection.may_be_replaced_by(play.segment(SYN, seq=-5000, syn=OPTIONS, timestamp=after))


def test_what_was_written_before_a_close_is_still_delivered() -> None:
    path = connected()
    data = pattern(200_000)
    assert path.dialler.connection.write(data, path.now) == len(data)
    path.dialler.connection.close(path.now)
    path.listener.ends = True
    path.run()
    assert bytes(path.listener.received) == data
    assert path.is_over


def test_a_close_with_octets_unread_resets() -> None:
    play = established()
    play.receives(ack=1, payload=b"unread")
    play.connection.close(play.now)
    (reset,) = play.sends()
    assert words(reset) == "RST ACK"
    assert play.connection.state is State.CLOSED


def test_octets_that_come_after_a_close_are_answered_with_a_reset() -> None:
    play = established()
    play.connection.close(play.now)
    play.sends()
    (reset,) = play.receives(ack=2, payload=b"late")
    assert words(reset) == "RST ACK"
    assert play.connection.state is State.CLOSED


def test_a_peer_that_never_ends_is_not_waited_for_after_a_close() -> None:
    play = established()
    play.connection.close(play.now)
    play.sends()
    play.receives(ack=2)
    assert play.connection.state is State.FIN_WAIT_2
    play.waits(CONFIG.fin_wait_2 + 1)
    assert play.connection.state is State.CLOSED


def test_a_half_closed_connection_that_is_read_lasts() -> None:
    play = fin_sent()
    play.receives(ack=2)
    for _ in range(20):
        play.waits(100)
        play.receives(ack=2)
    assert play.connection.state is State.FIN_WAIT_2
    play.connection.close(play.now)
    play.waits(61)
    assert play.connection.state is State.CLOSED


def test_a_reset_ends_it_and_what_came_before_can_be_read() -> None:
    play = established()
    play.receives(ack=1, payload=b"before")
    play.receives(RST, seq=7)
    assert isinstance(play.connection.failure, ConnectionResetError)
    assert play.connection.failure.errno == errno.ECONNRESET
    assert play.connection.read(99, play.now) == b"before"
    with pytest.raises(ConnectionResetError):
        play.connection.write(b"x", play.now)


def test_an_abort_resets_and_nothing_goes_after_it() -> None:
    play = established()
    play.writes(100)
    play.connection.abort(play.now)
    (reset,) = play.sends()
    assert (words(reset), seq_of(reset)) == ("RST ACK", 101)
    assert isinstance(play.connection.failure, ConnectionAbortedError)
    assert play.receives(ack=101) == []
    assert play.waits(1000) == []


def test_nothing_is_written_after_the_end() -> None:
    play = fin_sent()
    assert play.connection.writable == 0
    with pytest.raises(BrokenPipeError):
        play.connection.write(b"x", play.now)


def test_a_fin_waits_behind_octets_that_the_window_holds() -> None:
    play = established(window=10)
    sent = play.writes(5000)
    play.connection.write_eof(play.now)
    assert play.sends() == []
    assert not any(each.flags & FIN for each in sent)
    end = spans(sent)[-1][1]
    rest = play.receives(ack=end, window=0xFFFF)
    assert spans(rest)[-1][1] == 5001
    assert rest[-1].flags & FIN


@pytest.mark.parametrize("state", [State.CLOSING, State.LAST_ACK, State.TIME_WAIT])
def test_a_reset_at_the_very_end_ends_it(state: State) -> None:
    play = fin_sent() if state is not State.LAST_ACK else established()
    play.receives(FIN, ack=2 if state is State.TIME_WAIT else 1)
    if state is State.LAST_ACK:
        play.connection.write_eof(play.now)
        play.sends()
    assert play.connection.state is state
    play.receives(RST, seq=2)
    assert play.connection.state is State.CLOSED
    assert (play.connection.failure is None) == (state is State.TIME_WAIT)
