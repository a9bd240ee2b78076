"""The sessions table is what all events make, in whatever order and however often they came."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.helm.errors import InvalidRequestError, NotFoundError
from pharos.helm.model.sessions import Session
from pharos.helm.model.telemetry import NodeEvent
from pharos.helm.store import sessions as module
from pharos.helm.store.database import Database
from pharos.helm.store.handshakes import add_events
from pharos.helm.store.sessions import (
    SessionQuery,
    apply_events,
    count_sessions,
    get_session,
    live_by_node,
    prune_sessions,
    search_sessions,
)
from pharos.helm.telemetry.sessions import fold, sign_of
from pharos.wire.ids import DeviceId
from tests.support.helm import telemetry_in_memory
from tests.support.telemetry import BORN, LAPTOP, ONE, PHONE, SECOND, TWO, event, vital_events

NOW = BORN + 10_000 * SECOND


def feed(db: Database, *events: NodeEvent) -> None:
    apply_events(db, add_events(db, list(events)))


def stored(db: Database) -> list[Session]:
    return search_sessions(db, SessionQuery(limit=500), now=NOW).items


def expected(events: list[NodeEvent]) -> list[Session]:
    found: list[Session] = []
    for node in (ONE, TWO):
        for device in (PHONE, LAPTOP):
            signs = [sign_of(e) for e in events if (e.node_id, e.device_id) == (node, device)]
            found += fold(node, device, signs)
    return sorted(found, key=lambda session: (session.opened_at, session.id), reverse=True)


@settings(max_examples=300)
@given(vital_events(16), st.data())
def test_any_interleaving_and_repetition_of_the_same_events_gives_the_same_sessions(
    events: list[NodeEvent], data: st.DataObject
) -> None:
    order = data.draw(st.permutations([*events, *events[: len(events) // 3]]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    with telemetry_in_memory() as db:
        for begin, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
            feed(db, *order[begin:end])
        assert stored(db) == expected(events)


def test_late_handshake_joins_two_sessions_and_a_late_disconnect_parts_them_again() -> None:
    with telemetry_in_memory() as db:
        feed(db, event(0), event(300))
        assert len(stored(db)) == 2
        feed(db, event(150))
        assert [s.opened_at for s in stored(db)] == [BORN]
        feed(db, event(200, "disconnected", detail="removed"))
        assert [(s.opened_at, s.reason) for s in stored(db)] == [(BORN + 300 * SECOND, ""), (BORN, "removed")]


def test_disconnect_that_was_nobodys_ends_a_session_that_is_known_later() -> None:
    with telemetry_in_memory() as db:
        feed(db, event(0))
        feed(db, event(300, "disconnected", detail="removed"))
        feed(db, event(150))
        (session,) = stored(db)
        assert (session.until_at, session.reason) == (BORN + 300 * SECOND, "removed")


def test_session_whose_first_events_were_pruned_keeps_its_beginning() -> None:
    with telemetry_in_memory() as db:
        feed(db, *(event(100 * n, detail="a") for n in range(10)))
        (whole,) = stored(db)
        db.execute("DELETE FROM events WHERE at < ?", (BORN + 850 * SECOND,))
        feed(db, event(870))
        assert stored(db) == [whole]


def test_handshake_that_goes_on_with_a_session_costs_no_look_at_the_events(monkeypatch: pytest.MonkeyPatch) -> None:
    with telemetry_in_memory() as db:
        feed(db, event(0))
        monkeypatch.setattr(module, "_rebuild", None)
        monkeypatch.setattr(module, "_signs_from", None)
        feed(db, event(120), event(120, "connected"))
        feed(db, event(200, "disconnected", detail="removed"))
        feed(db, event(900))
        assert len(stored(db)) == 2


def fill(db: Database) -> None:
    for number in range(10):
        device = DeviceId(f"d{number}")
        feed(db, event(number * 1_000, node=ONE if number % 2 else TWO, device=device, detail="198.51.100.4:1"))


def test_list_goes_on_where_it_ended_whatever_came_meanwhile() -> None:
    with telemetry_in_memory() as db:
        fill(db)
        first = search_sessions(db, SessionQuery(limit=4), now=NOW)
        assert [s.device_id for s in first.items] == ["d9", "d8", "d7", "d6"]
        feed(db, event(20_000))
        rest = search_sessions(db, SessionQuery(limit=500, cursor=first.cursor), now=NOW)
        assert [s.device_id for s in rest.items] == ["d5", "d4", "d3", "d2", "d1", "d0"]
        assert rest.cursor == ""


def test_filters_select() -> None:
    with telemetry_in_memory() as db:
        fill(db)
        now = BORN + 9_100 * SECOND

        def found(query: SessionQuery) -> list[str]:
            page = search_sessions(db, query, now=now)
            assert count_sessions(db, query, now=now) == len(page.items)
            return [s.device_id for s in page.items]

        assert found(SessionQuery(node_id="one")) == ["d9", "d7", "d5", "d3", "d1"]
        assert found(SessionQuery(device_ids=["d3", "d4", "other"])) == ["d4", "d3"]
        assert found(SessionQuery(device_ids=[])) == []
        assert found(SessionQuery(live=True)) == ["d9"]
        assert len(found(SessionQuery(live=False))) == 9
        assert live_by_node(db, now=now) == {ONE: 1}


@pytest.mark.parametrize("cursor", ["x", "W10", "WzEsMl0", "WzEsImEiLDNd", "WzkyMjMzNzIwMzY4NTQ3NzU4MDgsImEiXQ", "é"])
def test_cursor_that_no_page_gave_is_refused(cursor: str) -> None:
    with telemetry_in_memory() as db, pytest.raises(InvalidRequestError):
        search_sessions(db, SessionQuery(cursor=cursor), now=NOW)


@pytest.mark.parametrize("limit", [0, 501])
def test_page_has_a_size_that_can_be(limit: int) -> None:
    with telemetry_in_memory() as db, pytest.raises(InvalidRequestError):
        search_sessions(db, SessionQuery(limit=limit), now=NOW)


def test_one_session_is_found_by_its_id_and_a_stranger_is_not() -> None:
    with telemetry_in_memory() as db:
        feed(db, event(0))
        (session,) = stored(db)
        assert get_session(db, session.id) == session
        with pytest.raises(NotFoundError):
            get_session(db, "other")


def test_what_ended_long_ago_is_pruned_a_little_at_a_time() -> None:
    with telemetry_in_memory() as db:
        fill(db)
        before = BORN + 5_000 * SECOND
        assert [prune_sessions(db, before=before, limit=3) for _ in range(3)] == [3, 2, 0]
        assert min(s.opened_at for s in stored(db)) == before


def test_rows_are_written_in_the_order_of_the_facts() -> None:
    assert tuple(field.name for field in attrs.fields(Session)) == module._NAMES
