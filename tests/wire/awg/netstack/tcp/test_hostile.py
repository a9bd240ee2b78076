"""Segments that no honest peer would send: nothing raises, nothing grows, an honest stream is not harmed."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.wire.awg.netstack.tcp.connection import Connection
from pharos.wire.awg.netstack.tcp.options import SynOptions
from pharos.wire.awg.netstack.tcp.reassembly import MAX_EARLY_PARTS
from pharos.wire.awg.netstack.tcp.segment import FIN, RST, SYN
from pharos.wire.awg.netstack.tcp.states import State
from tests.wire.awg.netstack.tcp.playing import ISN, OPTIONS, SIZE, Play, dialled, established
from tests.wire.awg.netstack.tcp.simulated import CONFIG, FLOW4, LATENCY, Path, Sent, pattern

NEAR = st.one_of(
    st.integers(-3, 30_000),
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from([0, 1, 2, SIZE, 65_536, CONFIG.receive_window, 2**31 - 1, -(2**31)]),
)
FLAGS = st.sampled_from([0, FIN, SYN, RST, SYN | FIN, SYN | RST, RST | FIN])
STAMPS = st.none() | st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)) | st.just((6_000, 0))


@st.composite
def hostile(draw: st.DrawFn) -> dict[str, object]:
    return {
        "flags": draw(FLAGS),
        "seq": draw(NEAR),
        "ack": draw(st.none() | NEAR),
        "payload": bytes(draw(st.sampled_from([0, 0, 1, 10, 1368, 60_000]))),
        "window": draw(st.sampled_from([0, 1, 5, 100, 65_535])),
        "blocks": tuple(draw(st.lists(st.tuples(NEAR, NEAR), max_size=4))),
        "timestamp": draw(STAMPS),
        "syn": draw(
            st.builds(
                SynOptions,
                mss=st.none() | st.integers(0, 65_535),
                scale=st.none() | st.integers(0, 14),
                sack=st.booleans(),
            )
        ),
    }


ACTIONS = st.one_of(
    st.tuples(st.just("receive"), hostile()),
    st.tuples(st.just("receive"), hostile()),
    st.tuples(st.just("receive"), hostile()),
    st.tuples(st.just("write"), st.sampled_from([1, 100, 30_000])),
    st.tuples(st.just("read"), st.sampled_from([1, 1000, 1 << 20])),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.05, 1.0, 70.0])),
    st.tuples(st.just("set_mss"), st.sampled_from([1, 576, 1280, 9000])),
    st.tuples(st.sampled_from(["eof", "close", "path", "receive_only"]), st.just(0)),
)


def perform(play: Play, action: str, value: object) -> None:
    connection, now = play.connection, play.now
    if action == "receive":
        connection.receive(play.segment(**value), now)  # type: ignore[arg-type]
    elif action == "write" and connection.writable:
        connection.write(bytes(value), now)  # type: ignore[arg-type]
    elif action == "read":
        connection.read(value, now)  # type: ignore[arg-type]
    elif action == "wait":
        play.waits(value)  # type: ignore[arg-type]
    elif action == "set_mss":
        connection.set_mss(value)  # type: ignore[arg-type]
    elif action == "eof":
        connection.write_eof(now)
    elif action == "close":
        connection.close(now)
    elif action == "path":
        connection.path_changed(now)


def check(connection: Connection) -> None:
    """See that the books are right."""
    receiver, sender = connection._receiver, connection._sender
    assert (connection.state is State.CLOSED) or connection.failure is None
    if sender is None or receiver is None:
        return
    assert connection.readable + receiver.parts.early <= CONFIG.receive_buffer + 65_535
    assert receiver.parts._parts <= MAX_EARLY_PARTS
    board = sender.board
    assert board.pipe == sum(each.end - each.start for each in board if each.in_pipe)
    assert board.sacked == sum(each.delivered for each in board)
    assert board.sacked_octets == sum(each.end - each.start for each in board if each.delivered)
    at = sender.una
    for each in board:
        assert each.start == at
        assert len(each.payload) + each.fin == each.end - each.start
        at = each.end
    assert at == sender.nxt
    assert connection.next_deadline() == math.inf or connection.state is not State.CLOSED
    if len(board) and connection.state is not State.CLOSED:
        assert connection.next_deadline() < math.inf


@settings(max_examples=300, deadline=None)
@given(start=st.sampled_from(["dialled", "accepted", "established"]), actions=st.lists(ACTIONS, max_size=30))
def test_nothing_raises_and_the_books_stay_right(start: str, actions: list[tuple[str, object]]) -> None:
    if start == "accepted":
        play = Play(None)  # type: ignore[arg-type]
        syn = play.segment(SYN, seq=0, syn=OPTIONS)
        play.connection = Connection.accept(FLOW4, syn, CONFIG, isn=ISN, now=0.0)
    else:
        play = dialled() if start == "dialled" else established()
    for action, value in actions:
        perform(play, action, value)
        play.sends()
        check(play.connection)


@settings(max_examples=60, deadline=None)
@given(seed=st.randoms(use_true_random=False), segments=st.lists(hostile(), min_size=1, max_size=8))
def test_a_stranger_off_the_path_does_not_harm_a_stream(seed: object, segments: list[dict[str, object]]) -> None:
    """Whoever does not know the timestamps changes nothing of what arrives; a RST he would have to hit exactly."""
    path = Path()
    path.dialler.outgoing = pattern(60_000)
    forged = [words for words in segments if not int(words["flags"]) & RST]  # type: ignore[call-overload]
    play = Play(path.dialler.connection)

    def judge(sent: Sent) -> list[float]:
        for end in path.ends:
            connection = end.connection
            if connection is not None and connection.is_established and len(path.sent) > 20:
                for words in forged:
                    segment = play.segment(**(words | {"timestamp": (1, 1)}))  # type: ignore[arg-type]
                    segment.timestamp = None
                    connection.receive(segment, path.now)
        return [LATENCY]

    path.filter = judge
    path.run()
    assert path.listener.received == path.dialler.outgoing
    assert path.is_over


def test_a_scoreboard_of_lies_costs_little() -> None:
    """Each acknowledgement tells of the whole window anew; what was looked at is not looked at again."""
    play = established()
    sent = play.writes(200_000)
    for number in range(2, 100):
        play.receives(ack=1, blocks=((1 + SIZE, 1 + number * SIZE),))
    assert len(play.connection._sender.board._known) == 1
    assert len(sent) == 10
