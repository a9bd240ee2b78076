"""RFC 9293 §3.5 and §3.10.7.3, RFC 7323 §2.2, RFC 6298 §2.1."""

from __future__ import annotations

import errno

import pytest

from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.connection import Connection
from pharos.wire.awg.netstack.tcp.options import SynOptions
from pharos.wire.awg.netstack.tcp.segment import ACK, FIN, RST, SYN
from pharos.wire.awg.netstack.tcp.states import TRANSITIONS, State, Step, following
from pharos.wire.errors import LocalProtocolError
from tests.wire.awg.netstack.tcp.playing import (
    ISN,
    MSS,
    OPTIONS,
    SIZE,
    Play,
    ack_of,
    dialled,
    established,
    seq_of,
    words,
)
from tests.wire.awg.netstack.tcp.simulated import CONFIG, FLOW4, FLOW6, LATENCY, Path, Sent, connected, read_packet


def accepted(syn: SynOptions = OPTIONS, *, timestamps: bool = True) -> Play:
    play = Play(None, timestamps=timestamps)  # type: ignore[arg-type]
    play.connection = Connection.accept(FLOW4, play.segment(SYN, seq=0, syn=syn), CONFIG, isn=ISN, now=0.0)
    return play


def test_a_syn_offers_everything() -> None:
    (syn,) = dialled().got
    assert syn.syn_options == SynOptions(mss=MSS, scale=7, sack=True)
    assert syn.timestamp is not None
    assert syn.seq == ISN


def test_over_ipv6_a_segment_is_smaller() -> None:
    connection = Connection.dial(FLOW6, CONFIG, isn=ISN, now=0.0)
    assert read_packet(connection.take(0.0)[0]).syn_options.mss == 1360


def test_the_answer_to_a_syn_is_acknowledged() -> None:
    play = dialled()
    assert not play.connection.is_established
    assert play.connection.writable == 0
    (ack,) = play.receives(SYN, seq=0, ack=1, syn=OPTIONS)
    assert (words(ack), seq_of(ack), ack_of(ack)) == ("ACK", 1, 1)
    assert play.connection.state is State.ESTABLISHED
    assert play.connection.writable > 0


def test_a_syn_is_answered_with_what_the_other_end_knows() -> None:
    play = accepted(SynOptions(mss=1000), timestamps=False)
    (answer,) = play.sends()
    assert words(answer) == "SYN ACK"
    assert answer.syn_options == SynOptions(mss=MSS)
    assert answer.timestamp is None
    play.receives(ack=1)
    assert play.connection.state is State.ESTABLISHED
    (segment, *_) = play.writes(5000)
    assert len(segment.payload) == 1000


def test_the_window_of_a_syn_is_not_scaled_and_others_are() -> None:
    play = accepted()
    (answer,) = play.sends()
    assert answer.window == 0xFFFF
    play.receives(ack=1)
    (ack,) = play.receives(seq=1, ack=1, payload=bytes(2 * MSS))
    assert ack.window << 7 == pytest.approx(CONFIG.receive_window - 2 * MSS, abs=128)
    play = established(window=100)
    # What is left of 12,800 octets is less than a segment.
    assert len(play.writes(100_000)) == (100 << 7) // SIZE == 9


def test_an_end_that_says_nothing_gets_small_segments() -> None:
    play = accepted(SynOptions(), timestamps=False)
    play.sends()
    play.receives(ack=1)
    assert {len(each.payload) for each in play.writes(5360)} == {536}


def test_an_absurd_mss_is_not_believed() -> None:
    play = accepted(SynOptions(mss=1), timestamps=False)
    play.sends()
    play.receives(ack=1)
    assert len(play.writes(880)[0].payload) == 88


def test_a_lost_syn_is_sent_again_after_1_3_7_15_and_31_seconds() -> None:
    play = dialled()
    times = []
    for _ in range(5):
        play.now = play.connection.next_deadline()
        play.connection.tick(play.now)
        (syn,) = play.sends()
        assert words(syn) == "SYN"
        times.append(play.now)
    assert times == [1, 3, 7, 15, 31]
    play.waits(40)
    assert isinstance(play.connection.failure, TimeoutError)
    assert play.connection.failure.errno == errno.ETIMEDOUT
    assert play.connection.state is State.CLOSED


def test_one_lost_syn_costs_a_second() -> None:
    path = Path()
    path.filter = lambda sent: [] if len(path.sent) == 1 else [LATENCY]
    path.run_while(lambda: not path.dialler.connection.is_established)
    assert path.now == pytest.approx(1 + 2 * LATENCY)


def test_a_lost_answer_is_sent_again() -> None:
    path = Path()
    lost: list[Sent] = []

    def lose_first_answer(sent: Sent) -> list[float]:
        if sent.segment.flags == SYN | ACK and not lost:
            lost.append(sent)
            return []
        return [LATENCY]

    path.filter = lose_first_answer
    path.run_while(lambda: path.listener.connection is None or not path.listener.connection.is_established)
    assert path.now < 1.1


def test_a_repeated_syn_is_answered_again() -> None:
    play = accepted()
    play.sends()
    (answer,) = play.receives(SYN, seq=0, syn=OPTIONS)
    assert words(answer) == "SYN ACK"
    assert play.connection.state is State.SYN_RECEIVED


def test_both_may_dial_at_once() -> None:
    play = dialled()
    (answer,) = play.receives(SYN, seq=0, syn=OPTIONS)
    assert (words(answer), seq_of(answer), ack_of(answer)) == ("SYN ACK", 0, 1)
    assert play.connection.state is State.SYN_RECEIVED
    play.receives(SYN, seq=0, ack=1, syn=OPTIONS)
    assert play.connection.state is State.ESTABLISHED


def test_two_of_ours_may_dial_at_once() -> None:
    one = Connection.dial(FLOW4, CONFIG, isn=1, now=0.0)
    other = Connection.dial(FLOW4.reversed(), CONFIG, isn=2, now=0.0)
    for _ in range(4):
        packets, answers = one.take(0.0), other.take(0.0)
        for packet in packets:
            other.receive(read_packet(packet), 0.0)
        for packet in answers:
            one.receive(read_packet(packet), 0.0)
    assert (one.state, other.state) == (State.ESTABLISHED, State.ESTABLISHED)
    assert one.take(0.0) + other.take(0.0) == []


def test_a_reset_of_our_syn_refuses() -> None:
    play = dialled()
    assert play.receives(RST, seq=0, ack=1) == []
    assert isinstance(play.connection.failure, ConnectionRefusedError)
    assert play.connection.failure.errno == errno.ECONNREFUSED
    assert play.connection.next_deadline() == float("inf")


@pytest.mark.parametrize("ack", [0, 2, 500])
def test_a_reset_that_does_not_acknowledge_our_syn_is_nothing(ack: int) -> None:
    play = dialled()
    assert play.receives(RST, seq=0, ack=ack) == []
    assert play.connection.state is State.SYN_SENT


def test_an_acknowledgement_of_something_else_is_reset() -> None:
    play = dialled()
    (reset,) = play.receives(SYN, seq=0, ack=77, syn=OPTIONS)
    assert (words(reset), seq_of(reset)) == ("RST", 77)
    assert play.connection.state is State.SYN_SENT
    play = accepted()
    play.sends()
    (reset,) = play.receives(ack=77)
    assert (words(reset), seq_of(reset)) == ("RST", 77)
    assert play.connection.state is State.SYN_RECEIVED


def test_a_segment_without_a_flag_that_matters_is_ignored_before_the_handshake() -> None:
    play = dialled()
    assert play.receives(FIN) == []
    assert play.connection.state is State.SYN_SENT


def test_octets_with_the_answer_are_read() -> None:
    play = dialled()
    (ack,) = play.receives(SYN | FIN, seq=0, ack=1, syn=OPTIONS, payload=b"early")
    assert ack_of(ack) == 7
    assert play.connection.read(99, play.now) == b"early"
    assert play.connection.at_eof
    assert play.connection.state is State.CLOSE_WAIT


def test_a_reset_while_accepting_ends_it() -> None:
    play = accepted()
    play.sends()
    play.receives(RST, seq=1)
    assert play.connection.state is State.CLOSED


def test_icmp_ends_what_is_not_established_yet() -> None:
    play = dialled()
    assert play.connection.is_outstanding(ISN)
    assert not play.connection.is_outstanding(ISN + 1)
    play.connection.unreachable(OSError(errno.EHOSTUNREACH, "no route"))
    assert play.connection.state is State.CLOSED
    assert play.connection.failure is not None
    assert play.connection.failure.errno == errno.EHOSTUNREACH


def test_icmp_does_not_end_what_is_established() -> None:
    play = established()
    play.connection.unreachable(OSError(errno.EHOSTUNREACH, "no route"))
    assert play.connection.state is State.ESTABLISHED


def test_a_dialler_that_gives_up_is_gone() -> None:
    play = dialled()
    play.connection.close(play.now)
    assert play.sends() == []
    assert (play.connection.state, play.connection.failure) == (State.CLOSED, None)


def test_a_connection_on_another_path_dials_again_at_once() -> None:
    play = dialled()
    play.waits(20)
    play.connection.path_changed(play.now)
    assert [words(each) for each in play.sends()] == ["SYN"]


def test_each_step_leads_on_and_others_are_a_bug() -> None:
    for (state, step), target in TRANSITIONS.items():
        assert following(state, step) is target
    for state in State:
        for step in Step:
            if (state, step) not in TRANSITIONS:
                with pytest.raises(LocalProtocolError, match=state.value):
                    following(state, step)


def test_peers_that_have_met_agree_on_numbers() -> None:
    path = connected(isn=2**32 - 1)
    assert path.listener.connection.flow == FLOW4.reversed()


def test_a_config_without_a_large_buffer_does_not_scale() -> None:
    config = TcpConfig(receive_buffer=60_000, receive_window=60_000)
    connection = Connection.dial(FLOW4, config, isn=ISN, now=0.0)
    syn = read_packet(connection.take(0.0)[0])
    assert (syn.syn_options.scale, syn.window) == (0, 60_000)
