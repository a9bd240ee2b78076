"""What a sink is told of next, and what it is told where rows are gone."""

from __future__ import annotations

import json

import pytest

from pharos.helm.model.sinks import Cursor
from pharos.helm.siem import batches
from pharos.helm.siem.batches import Batch, event_batch, names_in, read_audit, read_events
from pharos.helm.siem.records import Record
from pharos.helm.store.audit import remove_audit_rows
from pharos.helm.store.database import Database
from pharos.helm.store.handshakes import add_events, prune_events
from pharos.helm.store.sinks import first_event_since
from tests.support.audit import append_acts
from tests.support.helm import adopt_sample_node, core_in_memory, fleet_in_memory, telemetry_in_memory
from tests.support.sinks import FLEET
from tests.support.telemetry import event

START = Cursor(sequence=0, mark=0)


def size_of(_record: Record) -> int:
    return 300


def audit_after(db: Database, cursor: Cursor, limit: int = 500) -> Batch | None:
    return read_audit(db, FLEET, cursor, limit=limit, at=1, size_of=size_of)


def events_after(db: Database, cursor: Cursor, limit: int = 500) -> Batch | None:
    page = read_events(db, cursor, limit=limit)
    if page is None:
        return None
    return event_batch(FLEET, cursor, page, {}, limit=limit, at=1, size_of=size_of)


def said(batch: Batch | None) -> list[str | int]:
    assert batch is not None
    return [record.name if record.name.startswith("siem") else record.sequence for record in batch.records]


def test_audit_is_told_in_order_and_once() -> None:
    with core_in_memory() as db:
        append_acts(db, 5)
        first = audit_after(db, START, limit=3)
        assert (said(first), first and first.full) == ([1, 2, 3], True)
        assert first is not None
        second = audit_after(db, first.cursor, limit=3)
        assert (said(second), second and second.full) == ([4, 5], False)
        assert second is not None
        assert audit_after(db, second.cursor) is None


def test_batch_is_bounded_in_octets_and_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    with core_in_memory() as db:
        append_acts(db, 5)
        monkeypatch.setattr(batches, "MAX_OCTETS", 700)
        batch = audit_after(db, START)
        assert (said(batch), batch and batch.full) == ([1, 2], True)
        monkeypatch.setattr(batches, "MAX_OCTETS", 10)
        assert said(audit_after(db, START)) == [1]


def test_gap_is_told_where_pruning_went_beyond_a_cursor() -> None:
    with core_in_memory() as db:
        append_acts(db, 9)
        remove_audit_rows(db, 5)
        batch = audit_after(db, Cursor(sequence=2, mark=0))
        assert said(batch) == ["siem_gap", 6, 7, 8, 9]
        assert batch is not None
        assert (batch.records[0].fields["first"], batch.records[0].fields["last"]) == (3, 5)
        # Who was told of all that is gone missed nothing, nor did who begins with the oldest.
        assert said(audit_after(db, Cursor(sequence=5, mark=0))) == [6, 7, 8, 9]
        assert said(audit_after(db, START)) == [6, 7, 8, 9]


def test_audit_row_that_cannot_be_read_is_told_of_and_passed() -> None:
    with core_in_memory() as db:
        append_acts(db, 5)
        db.execute("UPDATE audit SET detail = CAST(X'ff' AS TEXT) WHERE sequence = 3")
        told: list[str | int] = []
        cursor: Cursor = START
        while (batch := audit_after(db, cursor)) is not None:
            told += said(batch)
            cursor = batch.cursor
        assert told == [1, 2, "siem_gap", 4, 5]


def test_audit_that_is_shorter_than_what_was_told_begins_anew() -> None:
    with core_in_memory() as db:
        append_acts(db, 2)
        assert said(audit_after(db, Cursor(sequence=7, mark=0))) == ["siem_numbered_anew", 1, 2]


def test_events_are_told_with_the_names_of_what_they_are_about() -> None:
    with telemetry_in_memory() as db, fleet_in_memory() as (core, authority):
        node, _ = adopt_sample_node(core, authority, "amsterdam")
        add_events(db, [event(1, node=node.id), event(2, node=node.id, device=None, kind="gap")])
        page = read_events(db, START, limit=10)
        assert page is not None
        names = names_in(core, page)
        batch = event_batch(FLEET, START, page, names, limit=10, at=1, size_of=size_of)
        assert [json.dumps(record.fields.get("node_name")) for record in batch.records] == ['"amsterdam"'] * 2
        assert said(batch) == [1, 2]


def test_events_that_were_pruned_are_a_gap() -> None:
    with telemetry_in_memory() as db:
        add_events(db, [event(number) for number in range(9)])
        first = events_after(db, START, limit=2)
        assert first is not None
        db.execute("DELETE FROM events WHERE sequence < 6")
        assert said(events_after(db, first.cursor)) == ["siem_gap", 6, 7, 8, 9]


def test_numbers_that_began_anew_are_noticed_and_nothing_new_is_lost() -> None:
    with telemetry_in_memory() as db:
        add_events(db, [event(number) for number in range(5)])
        whole = events_after(db, START)
        assert whole is not None
        # All of them grow old; the next event is number 1 again.
        prune_events(db, before=2**62, limit=100)
        assert events_after(db, whole.cursor) is None
        add_events(db, [event(100)])
        assert said(events_after(db, whole.cursor)) == ["siem_numbered_anew", 1]
        # And so it is where as many came since.
        add_events(db, [event(number) for number in range(101, 108)])
        anew = events_after(db, whole.cursor)
        assert said(anew) == ["siem_numbered_anew", *range(1, 9)]
        assert anew is not None
        assert events_after(db, anew.cursor) is None


def test_sink_begins_with_what_comes_after_it() -> None:
    with telemetry_in_memory() as db:
        assert first_event_since(db, 1) == 0
        for number in range(6):
            add_events(db, [event(number)], received_at=number * 10)
        assert [first_event_since(db, at) for at in (0, 25, 30, 99)] == [0, 3, 3, 6]
