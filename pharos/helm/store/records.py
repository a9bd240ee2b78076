"""Reading and changing any noun of the record: one versioned row each, one way to do it.

A `Noun` says how a table's rows become facts and JSON. Every change names the version it saw, and is written with its
audit row and its outbox row in the caller's transaction (`pharos.helm.store.changes`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

import attrs
import msgspec

from pharos.helm.errors import ConflictError, NotFoundError, StaleVersionError
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database
from pharos.helm.store.times import rfc3339


class Record(Protocol):
    """What every noun's facts have."""

    @property
    def id(self) -> str:
        """UUIDv7, so that ids sort by age."""

    @property
    def version(self) -> int:
        """Grows by one with each change; 1 when made."""


R = TypeVar("R", bound=Record)
Condition = Callable[[str], tuple[str, list[Any]]]
"""Returns an SQL condition and the values of its marks. Raises: InvalidRequestError — the value does not fit."""
META: Final = ("version", "created_at", "updated_at", "updated_by")


@attrs.frozen(kw_only=True)
class Noun(Generic[R]):
    """How one table is read, shown and searched."""

    kind: str
    """Singular, first word of its change kinds: ``user`` in ``user_added``."""
    table: str
    """Plural, also the noun's path segment."""
    columns: tuple[str, ...]
    """In order, ``id`` first, without those of ``META``."""
    model: type[R]
    """The facts, an attrs class with a field for each column and those of ``META``."""
    documents: frozenset[str] = frozenset()
    """Columns that hold JSON text."""
    forms: Mapping[str, Callable[[dict[str, Any]], Any]] = attrs.field(factory=dict)
    """Documents whose class has a form that outlives its fields, and how it is read; `as_mapping` writes it."""
    flags: frozenset[str] = frozenset()
    """Columns that hold 0 or 1 for a bool, for the two databases differ in theirs."""
    hidden: frozenset[str] = frozenset()
    """Columns that no view shows."""
    filters: Mapping[str, str | Condition] = attrs.field(factory=dict)
    """SQL condition with one mark, or what makes one of the value, by the name of the query parameter."""
    sorts: Mapping[str, str] = attrs.field(factory=lambda: {"created_at": "created_at", "name": "name"})
    """Column by the name it is sorted by; each has an index with ``id`` behind it, and is never NULL."""
    enrich: Callable[[R], dict[str, Any]] = attrs.field(default=lambda _record: {})
    """More members of the view, that are no columns."""

    @property
    def segment(self) -> str:
        """Of the noun's path: the table's name, with hyphens as in every other path."""
        return self.table.replace("_", "-")

    @property
    def all_columns(self) -> str:
        """The SELECT list."""
        return ", ".join((*self.columns, *META))

    def load(self, row: sqlite3.Row) -> R:
        """Make facts of a row."""
        values = dict(row)
        for name in self.documents:
            values[name] = json.loads(values[name])
        for name, read in self.forms.items():
            values[name] = None if values[name] is None else read(values[name])
        for name in self.flags:
            values[name] = bool(values[name])
        record: R = msgspec.convert(values, self.model, strict=True)
        return record

    def dump(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return column values of facts, or of some of them."""
        plain: dict[str, Any] = msgspec.to_builtins(dict(values), builtin_types=(bytes,))
        for name, value in plain.items():
            if name in self.forms:
                plain[name] = json.dumps(None if values[name] is None else values[name].as_mapping())
            elif name in self.documents:
                plain[name] = json.dumps(value)
            elif name in self.flags:
                plain[name] = int(value)
        return plain

    def view(self, record: R) -> dict[str, Any]:
        """Return the record as REST, the live feed and the CLI show it; times are RFC 3339, octets hexadecimal."""
        shown: dict[str, Any] = {}
        for name in (*self.columns, *META):
            if name not in self.hidden:
                value = getattr(record, name)
                shown[name] = value.as_mapping() if name in self.forms and value is not None else _shown(name, value)
        return shown | self.enrich(record)


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if name.endswith("_at") and isinstance(value, int):
        return rfc3339(value)
    return msgspec.to_builtins(value)


def add_record(db: Database, noun: Noun[R], record: R, act: Act, *, verb: str = "added", detail: str = "") -> R:
    """Write a new record, as its ``version`` 1.

    Raises: ConflictError — one of its unique values is taken.
    """
    added = insert_record(db, noun, record, act)
    record_change(db, act, noun.kind, verb, subject=added.id, version=1, body=noun.view(added), detail=detail)
    return added


def insert_record(db: Database, noun: Noun[R], record: R, act: Act) -> R:
    """Write a record that a new fleet is born with: there is no audit yet to say so, and nobody to be told.

    Raises: ConflictError — as for ``add_record``.
    """
    values = noun.dump({name: getattr(record, name) for name in noun.columns})
    values |= {"version": 1, "created_at": act.at, "updated_at": act.at, "updated_by": act.actor}
    marks = ", ".join("?" for _ in values)
    try:
        db.execute(
            f"INSERT INTO {noun.table} ({', '.join(values)}) VALUES ({marks})",  # noqa: S608 -- names of a Noun
            tuple(values.values()),
        )
    except sqlite3.IntegrityError as error:
        raise ConflictError(f"this {noun.kind} cannot be added: {_taken(noun, error)}") from error
    return get_record(db, noun, record.id)


def get_record(db: Database, noun: Noun[R], record_id: str) -> R:
    """Return one record.

    Raises: NotFoundError.
    """
    record = find_record(db, noun, record_id)
    if record is None:
        raise NotFoundError(f"there is no {noun.kind} {record_id!r}")
    return record


def find_record(db: Database, noun: Noun[R], record_id: str) -> R | None:
    """Return one record if there is one."""
    row = db.execute(f"SELECT {noun.all_columns} FROM {noun.table} WHERE id = ?", (record_id,)).fetchone()  # noqa: S608
    return None if row is None else noun.load(row)


def change_record(
    db: Database,
    noun: Noun[R],
    record_id: str,
    version: int,
    changes: Mapping[str, Any],
    act: Act,
    *,
    verb: str = "changed",
    detail: str = "",
) -> R:
    """Set some columns of the record that was seen at ``version``. Without a difference nothing happens.

    Raises: NotFoundError. StaleVersionError — it has moved on. ConflictError — a unique value is taken.
    """
    current = get_record(db, noun, record_id)
    check_version(noun, current, version)
    values = noun.dump(changes)
    before = noun.dump({name: getattr(current, name) for name in changes})
    different = {name: value for name, value in values.items() if value != before[name]}
    if not different:
        return current
    places = ", ".join(f"{name} = ?" for name in different)
    try:
        row = db.execute(
            f"UPDATE {noun.table} SET {places}, version = version + 1, updated_at = ?, updated_by = ?"  # noqa: S608
            " WHERE id = ? AND version = ? RETURNING version",
            (*different.values(), act.at, act.actor, record_id, version),
        ).fetchone()
    except sqlite3.IntegrityError as error:
        raise ConflictError(f"this {noun.kind} cannot be changed so: {_taken(noun, error)}") from error
    assert row is not None, "the version was checked in this transaction"
    changed = get_record(db, noun, record_id)
    record_change(
        db,
        act,
        noun.kind,
        verb,
        subject=changed.id,
        version=changed.version,
        body=noun.view(changed),
        detail=detail or ", ".join(sorted(different)),
    )
    return changed


def remove_record(
    db: Database, noun: Noun[R], record_id: str, version: int, act: Act, *, verb: str = "removed", detail: str = ""
) -> None:
    """Delete the record that was seen at ``version``.

    Raises: NotFoundError. StaleVersionError — it has moved on. ConflictError — another record needs it.
    """
    current = get_record(db, noun, record_id)
    check_version(noun, current, version)
    try:
        db.execute(f"DELETE FROM {noun.table} WHERE id = ?", (record_id,))  # noqa: S608 -- names of a Noun
    except sqlite3.IntegrityError as error:
        raise ConflictError(f"this {noun.kind} is still in use; remove what refers to it first") from error
    record_change(db, act, noun.kind, verb, subject=record_id, version=version + 1, body=None, detail=detail)


def touch_record(db: Database, noun: Noun[R], record_id: str, act: Act, *, verb: str, detail: str = "") -> R:
    """Count a change of something that belongs to a record but stands in another table, such as its members."""
    db.execute(
        f"UPDATE {noun.table} SET version = version + 1, updated_at = ?, updated_by = ? WHERE id = ?",  # noqa: S608
        (act.at, act.actor, record_id),
    )
    changed = get_record(db, noun, record_id)
    record_change(
        db, act, noun.kind, verb, subject=record_id, version=changed.version, body=noun.view(changed), detail=detail
    )
    return changed


def check_version(noun: Noun[R], current: R, version: int) -> None:
    """Raises: StaleVersionError — the record is not at ``version`` any more; the error carries what it is now."""
    if current.version != version:
        raise StaleVersionError(noun.kind, current=noun.view(current), seen=version)


def _taken(noun: Noun[Any], error: sqlite3.IntegrityError) -> str:
    text = str(error)
    if "UNIQUE" in text:
        column = text.rsplit(".", 1)[-1]
        return f"another {noun.kind} has the same {column.replace('_', ' ')}"
    if "FOREIGN KEY" in text:
        return "it refers to a record that does not exist"
    return "a value is not allowed"
