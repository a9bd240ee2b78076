from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.handshake import TransportKeys
from pharos.wire.awg.replay import WINDOW, ReplayWindow
from pharos.wire.awg.session import Session, Sessions
from pharos.wire.awg.timing import REJECT_AFTER_MESSAGES

A, B = bytes(32), bytes([1]) * 32


def pair(now=0.0):
    initiator = TransportKeys(send=A, receive=B, local_index=1, remote_index=2, initiator=True)
    responder = TransportKeys(send=B, receive=A, local_index=2, remote_index=1, initiator=False)
    return [Session(keys, now=now, reject_after=180.0) for keys in (initiator, responder)]


def named(index):
    keys = TransportKeys(send=A, receive=B, local_index=index, remote_index=0, initiator=True)
    return Session(keys, now=0.0, reject_after=180.0)


def test_the_window_is_as_wide_as_wireguards():
    assert WINDOW == 8128
    window = ReplayWindow()
    assert window.accept(WINDOW)
    assert window.accept(1)
    assert not window.accept(0)


@given(st.lists(st.integers(0, 40_000), max_size=200))
def test_the_window_accepts_each_recent_counter_once(counters):
    window, seen, newest = ReplayWindow(), set(), -1
    for counter in counters:
        expected = counter not in seen and newest - counter < WINDOW
        assert window.accept(counter) is expected
        if expected:
            seen.add(counter)
            newest = max(newest, counter)


def test_the_window_takes_reordered_counters_across_its_whole_ring():
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in reversed(range(WINDOW)))
    assert not any(window.accept(counter) for counter in range(WINDOW))
    assert window.accept(2**60)
    assert not window.accept(WINDOW - 1)


@given(st.integers(0, 300), st.lists(st.integers(0, 70), max_size=20))
def test_counters_in_a_row_may_be_noted_at_once(first, counts):
    one_by_one, at_once = ReplayWindow(), ReplayWindow()
    for window in (one_by_one, at_once):
        window.accept(first)
    for count in counts:
        at_once.extend(count)
        assert all(one_by_one.accept(one_by_one.newest + 1) for _ in range(count))
    assert at_once.newest == one_by_one.newest
    for counter in range(one_by_one.newest + 70):
        assert at_once.accept(counter) is one_by_one.accept(counter)


def test_a_session_ends_by_age_and_by_count():
    sender, _ = pair(now=100.0)
    assert sender.usable(279.9)
    assert not sender.usable(280.0)
    sender.sent_count = REJECT_AFTER_MESSAGES - 1
    assert sender.usable(100.0)
    sender.sent_count = REJECT_AFTER_MESSAGES
    assert not sender.usable(100.0)


def test_an_answered_session_waits_as_next_until_it_is_confirmed():
    first, second, sessions = named(1), named(2), Sessions()
    assert sessions.install_initiated(first) == []
    assert sessions.install_answered(second) == []
    assert (sessions.current, sessions.next) == (first, second)
    assert sessions.confirm_next() == []
    assert (sessions.previous, sessions.current, sessions.next) == (first, second, None)


def test_an_initiated_session_keeps_an_unconfirmed_one_as_previous():
    # Both ends began at once: what the peer sends on its session must still be read.
    first, answered, initiated, sessions = named(1), named(2), named(3), Sessions()
    sessions.install_initiated(first)
    sessions.install_answered(answered)
    assert sessions.install_initiated(initiated) == [first]
    assert (sessions.previous, sessions.current, sessions.next) == (answered, initiated, None)


@given(st.lists(st.sampled_from(["initiated", "answered", "confirm"]), max_size=20))
def test_every_session_is_held_or_was_given_back(steps):
    sessions, alive = Sessions(), set()
    for index, step in enumerate(steps):
        if step == "confirm":
            dropped = sessions.confirm_next() if sessions.next is not None else []
        else:
            session = named(index)
            alive.add(session)
            install = sessions.install_initiated if step == "initiated" else sessions.install_answered
            dropped = install(session)
        alive -= set(dropped)
        held = [sessions.previous, sessions.current, sessions.next]
        assert alive == {session for session in held if session is not None}
    assert set(sessions.clear()) == alive
