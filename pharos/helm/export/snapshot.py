"""The record as one document, in an order that only changes with it."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from pharos.helm.export.columns import (
    DOCUMENTS,
    EXPORTED,
    FLAGS,
    FLEET,
    FLEET_VOLATILE,
    META,
    NAMED,
    Exported,
)
from pharos.helm.store.database import Database
from pharos.helm.store.times import rfc3339

FORMAT: Final = "pharos/export/v1"


def take_snapshot(db: Database, *, full: bool) -> dict[str, Any]:
    """Return what an export says of the record as it is; ``full`` adds what changes by itself."""
    names = {table: _names(db, table) for _, table in NAMED.values()}
    document: dict[str, Any] = {"format": FORMAT, "fleet": _fleet(db, full=full)}
    for noun, exported in EXPORTED.items():
        if full or not exported.only_full:
            document[noun] = _records(db, noun, exported, names, full=full)
    members = _members(db, names["users"])
    for group in document["groups"]:
        group["members"] = members.get(group["id"], [])
    return document


def _records(
    db: Database, table: str, exported: Exported, names: dict[str, dict[str, str]], *, full: bool
) -> list[dict[str, Any]]:
    columns = (*exported.columns, *exported.volatile, *META) if full else exported.columns
    rows = db.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {exported.order}, id")  # noqa: S608 -- constants
    return [_shown(table, row, names) for row in rows]


def _shown(table: str, row: sqlite3.Row, names: dict[str, dict[str, str]]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in row.keys():  # noqa: SIM118 -- iterating over a row gives its values
        value = row[name]
        if name in NAMED:
            said, named = NAMED[name]
            # A record that is gone leaves its id.
            shown[said] = names[named].get(value, value)
        else:
            shown[name] = _value(f"{table}.{name}", value)
    return shown


def _value(column: str, value: Any) -> Any:
    if column in DOCUMENTS:
        return json.loads(value)
    if column in FLAGS:
        return bool(value)
    return rfc3339(value) if column.endswith("_at") and isinstance(value, int) else value


def _fleet(db: Database, *, full: bool) -> dict[str, Any]:
    columns = (*FLEET, *FLEET_VOLATILE) if full else FLEET
    row = db.execute(f"SELECT {', '.join(columns)} FROM fleet").fetchone()  # noqa: S608 -- constants
    return {name: _value(f"fleet.{name}", row[name]) for name in columns}


def _names(db: Database, table: str) -> dict[str, str]:
    return {row["id"]: row["name"] for row in db.execute(f"SELECT id, name FROM {table}")}  # noqa: S608 -- constants


def _members(db: Database, users: dict[str, str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for row in db.execute("SELECT group_id, user_id FROM group_members"):
        members.setdefault(row["group_id"], []).append(users[row["user_id"]])
    return {group: sorted(names) for group, names in members.items()}
