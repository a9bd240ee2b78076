"""Loss and what looks like it: RFC 8985 §6, RFC 6937, RFC 2883, RFC 4015, RFC 2018 §8."""

from __future__ import annotations

import attrs
import pytest

from pharos.wire.awg.netstack.tcp.recovery import Phase
from pharos.wire.awg.netstack.tcp.sending import Sender
from tests.wire.awg.netstack.tcp.playing import OPTIONS, SIZE, Play, ack_of, established, seq_of, spans, words

TRIP = 0.02
S = SIZE


def at(number: int) -> int:
    """Where the segment of this number begins."""
    return 1 + number * SIZE


def sending(segments: int = 10) -> Play:
    """Return one that has so many segments under way, a round trip old."""
    play = established()
    play.writes(segments * SIZE)
    play.now += TRIP
    return play


def sender_of(play: Play) -> Sender:
    sender = play.connection._sender
    assert sender is not None
    return sender


def test_three_segments_behind_a_gap_say_that_it_is_lost() -> None:
    play = sending()
    assert play.receives(ack=1, blocks=((at(1), at(2)),)) == []
    assert play.receives(ack=1, blocks=((at(1), at(3)),)) == []
    assert spans(play.receives(ack=1, blocks=((at(1), at(4)),))) == [(1, at(1))]


def test_fewer_say_so_after_a_quarter_of_a_round_trip() -> None:
    play = sending(2)
    assert play.receives(ack=1, blocks=((at(1), at(2)),)) == []
    assert play.connection.next_deadline() - play.now == pytest.approx(TRIP / 4)
    assert spans(play.waits(TRIP / 4 + 0.001)) == [(1, at(1))]


def test_a_loss_takes_three_tenths_of_the_window_once() -> None:
    play = sending()
    play.receives(ack=1, blocks=((at(1), at(4)),))
    play.receives(ack=1, blocks=((at(5), at(10)), (at(1), at(4))))
    sender = sender_of(play)
    assert sender.cubic.threshold == pytest.approx(7 * SIZE)
    play.now += TRIP
    play.receives(ack=at(10))
    assert sender.cubic.window == pytest.approx(7 * SIZE)


def test_what_was_sent_again_and_is_lost_again_is_noticed_without_the_timer() -> None:
    play = sending()
    play.connection.write(bytes(100 * SIZE), play.now)
    play.receives(ack=1, blocks=((at(1), at(4)),))
    first = play.got[-1]
    new = play.receives(ack=1, blocks=((at(1), at(10)),))
    assert new
    play.now += TRIP
    last = spans(new)[-1]
    again = play.receives(ack=1, blocks=(last, (at(1), at(10))))
    assert spans([first])[0][0] >= 1
    assert (1, at(1)) in spans(again) or (1, at(1)) in spans(play.waits(TRIP / 4 + 0.001))


def test_the_timer_sends_the_first_again_and_begins_with_one_segment() -> None:
    play = established()
    play.writes(10 * SIZE)
    play.waits(2 * TRIP + 0.01)
    again = play.waits(0.3)
    assert spans(again) == [(1, at(1))]
    sender = sender_of(play)
    assert sender.cubic.window == SIZE
    assert sender._recovery.phase is Phase.LOSS
    play.now += TRIP
    assert spans(play.receives(ack=at(1))) == [(at(1), at(2)), (at(2), at(3))]


def test_reordering_that_was_seen_is_waited_for() -> None:
    play = sending()
    play.receives(ack=1, blocks=((at(1), at(2)),))
    play.receives(ack=at(2))
    assert sender_of(play)._rack.reordering
    assert play.receives(ack=at(2), blocks=((at(3), at(6)),)) == []
    assert play.receives(ack=at(6)) == []
    assert sender_of(play)._recovery.phase is Phase.OPEN


def test_a_superfluous_retransmission_is_undone_by_the_time_that_is_echoed() -> None:
    play = sending()
    before = sender_of(play).cubic.window
    original = play.echo
    play.receives(ack=1, blocks=((at(1), at(4)),))
    assert sender_of(play)._recovery.phase is Phase.RECOVERY
    play.echo = original
    play.now += 0.005
    play.receives(ack=at(4))
    assert sender_of(play)._recovery.phase is Phase.OPEN
    assert sender_of(play).cubic.window >= before


def test_a_superfluous_retransmission_is_undone_by_what_came_twice() -> None:
    play = established(timestamps=False)
    size = SIZE + 12
    play.writes(10 * size)
    play.now += TRIP
    before = sender_of(play).cubic.window
    play.receives(ack=1, blocks=((1 + size, 1 + 4 * size),))
    assert sender_of(play)._recovery.phase is Phase.RECOVERY
    play.receives(ack=1 + 4 * size)
    play.receives(ack=1 + 4 * size, blocks=((1, 1 + size),))
    assert sender_of(play)._recovery.phase is Phase.OPEN
    assert sender_of(play).cubic.window >= before


def test_a_repair_that_was_needed_is_not_undone() -> None:
    play = sending()
    play.receives(ack=1, blocks=((at(1), at(4)),))
    play.now += TRIP
    play.receives(ack=at(4))
    play.receives(ack=at(10))
    assert sender_of(play).cubic.window == pytest.approx(7 * SIZE, rel=0.1)


def test_a_timeout_that_was_too_early_is_undone_and_the_rest_not_sent_again() -> None:
    play = established()
    play.writes(10 * SIZE)
    original = play.echo
    play.waits(0.5)
    assert sender_of(play)._recovery.phase is Phase.LOSS
    play.echo = original
    assert play.receives(ack=at(2)) == []
    assert sender_of(play)._recovery.phase is Phase.OPEN
    assert sender_of(play).cubic.window >= 10 * SIZE
    assert play.receives(ack=at(10)) == []
    assert play.connection.unsent == 0


def test_a_peer_that_drops_what_it_had_gets_all_again() -> None:
    play = sending()
    play.receives(ack=1, blocks=((at(1), at(10)),))
    play.now += TRIP
    play.receives(ack=at(1))
    # What was told to be there is not acknowledged, and nothing else comes.
    again = play.waits(5)
    assert (at(1), at(2)) in spans(again)
    play.receives(ack=at(2))
    play.receives(ack=at(10))
    assert play.connection.unsent == 0


def test_without_selective_acknowledgements_the_timer_repairs() -> None:
    play = established(syn=attrs.evolve(OPTIONS, sack=False))
    play.writes(5 * SIZE)
    play.now += TRIP
    for _ in range(4):
        play.receives(ack=1)
    assert spans(play.waits(0.3))[0] == (1, at(1))


def test_half_acknowledged_segments_are_sent_again_in_their_other_half() -> None:
    play = established()
    play.writes(SIZE)
    play.receives(ack=501)
    again = play.waits(1)
    assert spans(again)[0] == (501, at(1))


@pytest.mark.parametrize(
    "blocks",
    [
        ((at(50), at(60)),),
        ((at(3), at(2)),),
        ((-(2**31), 2**31 - 1),),
        ((5, 5),),
        ((at(9), at(10) + 1),),
        ((0, 2**32 - 1),),
    ],
)
def test_selective_nonsense_is_left_out(blocks: tuple[tuple[int, int], ...]) -> None:
    play = sending()
    play.receives(ack=1, blocks=blocks)
    sender = sender_of(play)
    assert sender.board.sacked == 0
    assert sender.board.pipe == 10 * SIZE
    play.receives(ack=at(10))
    assert (sender.board.pipe, play.connection.unsent) == (0, 0)


def test_the_pipe_is_what_is_neither_here_nor_lost() -> None:
    play = sending()
    sender = sender_of(play)
    play.receives(ack=1, blocks=((at(5), at(8)),))
    # Five before the gap are lost; the first was sent again at once, and PRR lets one more go for each that arrives.
    sent_again = len([each for each in play.got[-5:] if seq_of(each) < at(5) and each.payload])
    assert sender.board.sacked == 3
    assert sender.board.pipe <= (10 - 3) * SIZE
    assert sent_again >= 1
    play.receives(ack=at(10))
    assert sender.board.pipe == 0


def receive(play: Play, *numbers: int) -> list[tuple[int, int]]:
    """Let it receive segments of ten octets by number; return the blocks of its last acknowledgement."""
    answer = []
    for number in numbers:
        answer = play.receives(seq=1 + 10 * number, ack=1, payload=b"%010d" % number)
    blocks = answer[-1].blocks if answer else ()
    offset = answer[-1].ack - ack_of(answer[-1]) if answer else 0
    return [((left - offset - 1) // 10, (right - offset - 1) // 10) for left, right in blocks]


def test_what_came_last_is_told_first() -> None:
    play = established()
    assert receive(play, 2) == [(2, 3)]
    assert receive(play, 6) == [(6, 7), (2, 3)]
    assert receive(play, 4) == [(4, 5), (6, 7), (2, 3)]
    assert receive(play, 8) == [(8, 9), (4, 5), (6, 7)]
    assert receive(play, 3) == [(2, 5), (8, 9), (6, 7)]
    assert receive(play, 0, 1) == [(8, 9), (6, 7)]
    assert receive(play, 5, 7) == []
    assert play.connection.read(999, play.now) == b"".join(b"%010d" % number for number in range(9))


def test_what_came_twice_is_told_once() -> None:
    play = established()
    receive(play, 0)
    assert receive(play, 0) == [(0, 1)]
    assert receive(play, 2) == [(2, 3)]
    assert receive(play, 2) == [(2, 3), (2, 3)]
    assert receive(play, 4) == [(4, 5), (2, 3)]


def test_a_peer_that_takes_no_selections_gets_none() -> None:
    play = established(syn=attrs.evolve(OPTIONS, sack=False))
    (ack,) = play.receives(seq=11, ack=1, payload=bytes(10))
    assert (words(ack), ack_of(ack), ack.blocks) == ("ACK", 1, ())
