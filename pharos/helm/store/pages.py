"""Lists of records, a page at a time: filtered and sorted by SQL, continued by a cursor that survives changes.

A cursor names the last record of its page by sort value and id (keyset paging), so a page costs the same however far in
it is, and a record that is added or removed meanwhile shifts nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from pharos.helm.errors import InvalidRequestError
from pharos.helm.store.database import Database
from pharos.helm.store.records import Noun, Record

R = TypeVar("R", bound=Record)

# A page of 500 devices is some 250 kB of JSON; nobody reads more at once.
MAX_LIMIT: Final = 500
DEFAULT_LIMIT: Final = 100


@attrs.frozen(kw_only=True)
class Query:
    """What a list is asked for."""

    filters: Mapping[str, str] = attrs.field(factory=dict)
    """Values by the filter's name."""
    sort: str = "created_at"
    descending: bool = False
    limit: int = DEFAULT_LIMIT
    cursor: str = ""
    """As the page before gave it; empty for the first."""


@attrs.frozen(kw_only=True)
class Page(Generic[R]):
    """A part of a list."""

    items: list[R]
    cursor: str
    """Where the next page begins; empty behind the last."""


def list_page(db: Database, noun: Noun[R], query: Query) -> Page[R]:
    """Return one page of a noun's records.

    Raises: InvalidRequestError — a filter, the sort or the limit is not one of this noun's, or the cursor is not of
    this list.
    """
    conditions, values = _conditions(noun, query)
    column = noun.sorts.get(query.sort)
    if column is None:
        raise InvalidRequestError(f"{noun.table} can be sorted by {', '.join(sorted(noun.sorts))}, not {query.sort!r}")
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidRequestError(f"a page has 1 to {MAX_LIMIT} records, not {query.limit}")
    beyond, direction = ("<", "DESC") if query.descending else (">", "ASC")
    if query.cursor:
        conditions.append(f"({column}, id) {beyond} (?, ?)")
        values += _parse_cursor(query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = db.execute(
        f"SELECT {noun.all_columns} FROM {noun.table}{where}"  # noqa: S608 -- names and conditions of a Noun
        f" ORDER BY {column} {direction}, id {direction} LIMIT ?",
        (*values, query.limit + 1),
    ).fetchall()
    items = [noun.load(row) for row in rows[: query.limit]]
    cursor = _cursor(query, rows[query.limit - 1][column], items[-1].id) if len(rows) > query.limit else ""
    return Page(items=items, cursor=cursor)


def count_records(db: Database, noun: Noun[R], query: Query) -> int:
    """Return how many records the whole list has."""
    conditions, values = _conditions(noun, query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    count: int = db.execute(f"SELECT COUNT(*) FROM {noun.table}{where}", values).fetchone()[0]  # noqa: S608
    return count


def _conditions(noun: Noun[Any], query: Query) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    for name, value in query.filters.items():
        condition = noun.filters.get(name)
        if condition is None:
            known = ", ".join(sorted(noun.filters)) or "nothing"
            raise InvalidRequestError(f"{noun.table} can be filtered by {known}, not {name!r}")
        if callable(condition):
            text, more = condition(value)
            conditions.append(text)
            values += more
            continue
        conditions.append(condition)
        values.append(f"%{_literal(value)}%" if " LIKE " in condition else value)
    return conditions, values


def _literal(text: str) -> str:
    """Take from LIKE the meaning of its own signs; the condition says ESCAPE '!'."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _cursor(query: Query, value: Any, record_id: str) -> str:
    plain = json.dumps([query.sort, query.descending, value, record_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _parse_cursor(query: Query) -> list[Any]:
    try:
        padded = query.cursor + "=" * (-len(query.cursor) % 4)
        sort, descending, value, record_id = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRequestError("the cursor is not one that this list gave out") from error
    fits = isinstance(value, str | int) and isinstance(record_id, str) and not isinstance(value, bool)
    if (sort, descending) != (query.sort, query.descending) or not fits:
        raise InvalidRequestError("the cursor belongs to a list that was sorted otherwise")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidRequestError("the cursor is not one that this list gave out")
    return [value, record_id]
