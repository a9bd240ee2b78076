"""Sessions are a function of the set of events."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.model.sessions import Session
from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.telemetry.sessions import Sign, fold, sign_of
from pharos.wire.convert import MAX_TIME
from tests.support.telemetry import BORN, ONE, PHONE, SECOND, event, vital_events


def sessions_of(*events: NodeEvent) -> list[Session]:
    return fold(ONE, PHONE, [sign_of(one) for one in events])


def spans(*events: NodeEvent) -> list[tuple[float, float, str]]:
    """Give beginning, end and reason of each session, in seconds."""
    found = sessions_of(*events)
    return [((s.opened_at - BORN) / SECOND, (s.until_at - BORN) / SECOND, s.reason) for s in found]


def test_session_lasts_until_180_seconds_after_the_last_handshake() -> None:
    assert spans(event(0), event(120), event(240)) == [(0, 420, "")]
    assert spans(event(0), event(180)) == [(0, 360, "")]
    assert spans(event(0), event(180.000001)) == [(0, 180, ""), (180.000001, 360.000001, "")]


def test_disconnect_ends_the_session_and_a_handshake_begins_the_next() -> None:
    assert spans(event(0), event(60, "disconnected", detail="removed"), event(61)) == [
        (0, 60, "removed"),
        (61, 241, ""),
    ]


def test_disconnect_of_nobody_is_nothing() -> None:
    assert spans(event(5, "disconnected")) == []
    # A node says "silent" when it forgets the keys, long after the session has ended.
    assert spans(event(0), event(540, "disconnected", detail="silent")) == [(0, 180, "")]
    assert spans(event(0), event(10, "disconnected", detail="x"), event(20, "disconnected", detail="y")) == [
        (0, 10, "x")
    ]


def test_disconnect_without_a_reason_has_one() -> None:
    assert spans(event(0), event(10, "disconnected")) == [(0, 10, "disconnected")]


def test_peer_that_is_replaced_goes_before_it_comes() -> None:
    assert spans(event(0), event(9, "disconnected", detail="removed"), event(9)) == [(0, 9, "removed"), (9, 189, "")]


def test_connect_is_a_sign_of_life_and_the_newest_endpoint_is_shown() -> None:
    (session,) = sessions_of(event(0, detail="a"), event(1, "connected", detail="b"), event(2))
    assert (session.seen_at, session.endpoint) == (BORN + 2 * SECOND, "b")


def test_protocol_that_was_told_last_is_shown_and_silence_about_it_changes_nothing() -> None:
    (session,) = sessions_of(event(0, protocol="amneziawg"), event(60, protocol="reality"), event(120))
    assert session.protocol == "reality"
    (untold,) = sessions_of(event(0), event(60))
    assert untold.protocol == ""


def test_last_microsecond_of_the_calendar_is_a_session_that_can_be_shown() -> None:
    (session,) = fold(ONE, PHONE, [Sign(MAX_TIME, alive=True, detail="")])
    assert session.until_at == MAX_TIME


@given(vital_events(), st.randoms(use_true_random=False))
def test_order_and_repetition_of_events_do_not_matter(events: list[NodeEvent], chance: random.Random) -> None:
    shuffled = [*events, *events[: len(events) // 2]]
    chance.shuffle(shuffled)
    assert sessions_of(*shuffled) == sessions_of(*events)


@given(vital_events(20))
def test_sessions_of_a_device_at_a_node_never_overlap(events: list[NodeEvent]) -> None:
    found = sessions_of(*events)
    assert all(s.opened_at <= s.seen_at <= s.until_at for s in found)
    assert all(one.until_at <= later.opened_at for one, later in itertools.pairwise(found))
    assert len({s.id for s in found}) == len(found)
