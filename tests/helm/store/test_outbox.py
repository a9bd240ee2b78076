"""The outbox numbers what happened, in the transaction that made it happen."""

from __future__ import annotations

import pytest

from pharos.helm.store import outbox
from pharos.helm.store.database import Database, transact
from pharos.helm.store.outbox import (
    KEPT_FOR,
    append_entry,
    entries_after,
    last_sequence,
    oldest_sequence,
    prune_outbox,
)
from tests.support.helm import core_in_memory


def append(db: Database, number: int) -> None:
    append_entry(db, at=number, kind=f"kind-{number}", subject="s", actor="a", detail="d")


def test_entries_come_in_order_after_a_sequence_and_within_a_limit() -> None:
    with core_in_memory() as db:
        assert (last_sequence(db), entries_after(db, 0)) == (0, [])
        for number in range(1, 8):
            append(db, number)
        assert [entry.sequence for entry in entries_after(db, 2, limit=3)] == [3, 4, 5]
        assert [entry.kind for entry in entries_after(db, 5)] == ["kind-6", "kind-7"]
        assert last_sequence(db) == 7


def test_entry_of_a_failed_transaction_never_was() -> None:
    def append_and_fail(db: Database) -> None:
        append(db, 1)
        raise ZeroDivisionError

    with core_in_memory() as db:
        with pytest.raises(ZeroDivisionError):
            transact(db, append_and_fail)
        assert entries_after(db, 0) == []


def test_prune_keeps_what_is_new_and_at_least_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PRUNED_AT_ONCE", 4)
    with core_in_memory() as db:
        assert not prune_outbox(db, at=KEPT_FOR)
        for number in range(10):
            append_entry(db, at=number, kind="k", subject="s", actor="a", detail="")
        assert not prune_outbox(db, at=KEPT_FOR)
        # Older than six microseconds before the limit: 1 to 6, four at once.
        assert prune_outbox(db, at=KEPT_FOR + 6)
        assert oldest_sequence(db) == 5
        assert not prune_outbox(db, at=KEPT_FOR + 6)
        assert oldest_sequence(db) == 7
        assert not prune_outbox(db, at=KEPT_FOR + 1_000_000)
        assert (oldest_sequence(db), last_sequence(db)) == (10, 10)
        append_entry(db, at=99, kind="k", subject="s", actor="a", detail="")
        assert last_sequence(db) == 11


def test_prune_keeps_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "KEPT_ROWS", 3)
    with core_in_memory() as db:
        for number in range(10):
            append_entry(db, at=number, kind="k", subject="s", actor="a", detail="")
        assert not prune_outbox(db, at=0)
        assert (oldest_sequence(db), last_sequence(db)) == (8, 10)
