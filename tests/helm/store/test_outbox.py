"""The outbox numbers what happened, in the transaction that made it happen."""

from __future__ import annotations

import pytest

from pharos.helm.store.database import Database, transact
from pharos.helm.store.outbox import append_entry, entries_after, last_sequence
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
