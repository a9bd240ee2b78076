"""Rows go into one statement by the hundred, each of them once."""

from __future__ import annotations

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.store.bulk import insert_rows, portions, select_rows
from tests.support.strategies import quick


@quick
@given(st.integers(0, 1500))
def test_portions_are_all_rows_in_order_in_few_sizes(count: int) -> None:
    rows = [(number,) for number in range(count)]
    cut = list(portions(rows))
    assert [row for portion in cut for row in portion] == rows
    assert {len(portion) for portion in cut} <= {512, 64, 8, 1}


def test_rows_are_written_and_found() -> None:
    with sqlite3.connect(":memory:") as db:
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        rows = [(number, f"{number}?") for number in range(700)]
        insert_rows(db, "INSERT INTO t (a, b) VALUES (?, ?) ON CONFLICT (a) DO NOTHING", rows)
        insert_rows(db, "INSERT INTO t (a, b) VALUES (?, ?) ON CONFLICT (a) DO NOTHING", [])
        wanted = [(number,) for number in range(650, 750)]
        found = select_rows(db, "WITH wanted (n) AS (VALUES (?)) SELECT a, b FROM wanted, t WHERE a = n", wanted)
        assert sorted(found) == rows[650:]
    db.close()
