"""What a stranger can do who guesses: RFC 5961, RFC 7323 §5.3, RFC 5927. Each attack first succeeds where it is let."""

from __future__ import annotations

import pytest

from pharos.wire.awg.netstack.tcp.endpoint import Endpoint
from pharos.wire.awg.netstack.tcp.receiving import Receiver
from pharos.wire.awg.netstack.tcp.segment import RST, SYN, Segment
from pharos.wire.awg.netstack.tcp.states import State
from tests.wire.awg.netstack.tcp.playing import OPTIONS, Play, ack_of, established, words

WINDOW = 65_535


def accept_as_rfc793_does(
    self: Endpoint, segment: Segment, start: int, flags: int, receiver: Receiver, now: float
) -> bool:
    """A build without RFC 5961 and PAWS: whatever is in the window is believed."""
    if not receiver.next <= start < receiver.edge:
        return False
    if flags & (RST | SYN):
        self._reset()
        return False
    return True


@pytest.fixture(params=["weak", "whole"])
def is_weak(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "weak":
        monkeypatch.setattr(Endpoint, "_is_acceptable", accept_as_rfc793_does)
    return request.param == "weak"


def is_alive(play: Play) -> bool:
    return play.connection.state is State.ESTABLISHED and play.connection.failure is None


@pytest.mark.parametrize("flags", [RST, SYN])
def test_a_guess_inside_the_window_does_not_reset(is_weak: bool, flags: int) -> None:
    play = established()
    answer = play.receives(flags, seq=1000, timestamp=(0, 0) if flags == SYN else None)
    assert is_alive(play) != is_weak
    if not is_weak:
        assert [(words(each), ack_of(each)) for each in answer] == [("ACK", 1)]


def test_octets_of_a_stranger_without_the_right_time_are_not_read(is_weak: bool) -> None:
    play = established()
    play.receives(seq=1, ack=1, payload=b"forged", timestamp=(play.stamp - 1, 0))
    assert (play.connection.readable > 0) == is_weak
    play = established()
    play.timestamps = False
    play.receives(seq=1, ack=1, payload=b"forged")
    assert (play.connection.readable > 0) == is_weak


def test_the_peer_itself_may_reset() -> None:
    play = established()
    play.receives(RST, seq=1)
    assert not is_alive(play)


@pytest.mark.parametrize("seq", [-1, 0, WINDOW * 128 + 1, 2**31])
def test_a_reset_outside_the_window_is_not_even_answered(seq: int) -> None:
    play = established()
    assert play.receives(RST, seq=seq) == []
    assert is_alive(play)


def test_a_syn_outside_the_window_is_told_where_we_are() -> None:
    play = established()
    (challenge,) = play.receives(SYN, seq=2**30, syn=OPTIONS)
    assert (words(challenge), ack_of(challenge)) == ("ACK", 1)
    assert is_alive(play)


@pytest.mark.parametrize("ack", [2, 100_000, -10_000_000, 2**31])
def test_octets_with_an_acknowledgement_out_of_nowhere_are_not_read(
    ack: int,
) -> None:
    play = established()
    (challenge,) = play.receives(seq=1, ack=ack, payload=b"forged")
    assert words(challenge) == "ACK"
    assert play.connection.readable == 0
    assert play.connection.unsent == 0


def test_challenges_are_bounded_and_come_back() -> None:
    play = established()
    answers = sum(len(play.receives(SYN, seq=5)) for _ in range(100))
    assert answers == 10
    play.waits(1.0)
    assert len(play.receives(SYN, seq=5)) == 1


def test_answers_to_old_segments_without_octets_are_bounded_too() -> None:
    play = established()
    assert sum(len(play.receives(seq=0, ack=1)) for _ in range(100)) == 10


def test_a_restarted_peer_that_dials_again_finds_out() -> None:
    """RFC 9293 §3.5.1: its SYN is challenged, our answer makes it reset us by the number we gave."""
    play = established()
    (challenge,) = play.receives(SYN, seq=700, syn=OPTIONS)
    play.receives(RST, seq=ack_of(challenge))
    assert isinstance(play.connection.failure, ConnectionResetError)


def test_icmp_about_what_we_never_sent_is_told_apart() -> None:
    play = established()
    play.writes(1000)
    first = 1001
    assert play.connection.is_outstanding(first)
    assert play.connection.is_outstanding(first + 999)
    assert not play.connection.is_outstanding(first + 1000)
    assert not play.connection.is_outstanding(first - 1)
