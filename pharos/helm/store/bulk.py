"""Many rows in one statement.

A statement lets other threads run when it begins and has to win its turn back when it ends. With a busy event loop
beside the writer, one statement a row waits for that a thousand times in a batch of a thousand rows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pharos.helm.store.database import Database

# Few sizes, so that every text is compiled once and kept; ten columns of the largest stay below the 32,766 values that
# SQLite takes (sqlite.org/limits.html).
_SIZES: Final = (512, 64, 8, 1)


def portions(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """Cut rows into pieces of few different sizes, none of them empty."""
    at = 0
    while at < len(rows):
        size = next(size for size in _SIZES if size <= len(rows) - at)
        yield rows[at : at + size]
        at += size


def insert_rows(db: Database, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run an INSERT for many rows; it is written for one."""
    for portion in portions(rows):
        text = _for_many(statement, len(portion), len(portion[0]))
        db.execute(text, [value for row in portion for value in row])


def select_rows(db: Database, statement: str, keys: Sequence[Sequence[Any]]) -> Iterator[Any]:
    """Yield what a SELECT with ``VALUES (?, …)`` finds for many keys; it is written for one."""
    for portion in portions(keys):
        text = _for_many(statement, len(portion), len(portion[0]))
        yield from db.execute(text, [value for key in portion for value in key])


@functools.lru_cache(maxsize=64)
def _for_many(statement: str, rows: int, columns: int) -> str:
    one = f"({', '.join('?' * columns)})"
    assert statement.count(one) == 1, "the marks of one row stand for all"
    return statement.replace(one, ", ".join([one] * rows))
