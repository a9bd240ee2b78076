"""Write the data file of the newest step of each database, from the file of the step before it.

    python -m tests.support.datafiles

The older rows are carried up by helm's own migrations; users, groups, admins and tokens are added by its own functions,
and every table that is still empty gets rows of plain values. Nothing in it is random: run again, it writes the same.
Once a step has been released, its file is never written again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import sqlite_utils
from sqlite_utils import Migrations

from pharos.helm.model.admins import Admin, Role, Token
from pharos.helm.model.users import Group, User
from pharos.helm.store.admins import ADMINS, TOKENS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, transact
from pharos.helm.store.migrations import core_migrations, telemetry_migrations
from pharos.helm.store.records import add_record, change_record
from pharos.helm.store.users import GROUPS, USERS, add_member

FOLDER: Final = Path(__file__).parents[1] / "helm" / "store" / "migrations"
TIME: Final = 1_767_323_045_000_000
ADA, OFFICE, OWNER, ROBOT = (f"019b7c12-0000-7000-8000-0000000000{number}" for number in (20, 21, 22, 23))
_ACT: Final = Act(actor="operator", at=TIME)


def step_names(migrations: Migrations) -> list[str]:
    """Return ``m0001`` and so on."""
    return [migration.name[:5] for migration in migrations._migrations]


def open_file(name: str) -> Database:
    """Return a database in memory as a step left it."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript((FOLDER / f"{name}.sql").read_text(encoding="utf-8"))
    db.execute("PRAGMA foreign_keys = ON")
    db.row_factory = sqlite3.Row
    return db


def add_people(db: Database) -> None:
    """Add people, their group, an admin and a token as helm does, and change one of them."""
    add_record(db, USERS, User(id=ADA, name="Ada", email="ada@example.org", quota_bytes=10**10), _ACT)
    change_record(db, USERS, ADA, 1, {"note": "has two telephones"}, _ACT)
    add_record(db, GROUPS, Group(id=OFFICE, name="office", node_tags=("eu", "fast")), _ACT)
    add_member(db, OFFICE, ADA, _ACT)
    add_record(db, ADMINS, Admin(id=OWNER, name="grace", role=Role.OWNER, password="hash", totp=b"wrapped"), _ACT)
    add_record(db, TOKENS, Token(id=ROBOT, name="robot", hash=b"T" * 32, admin_id=OWNER, role=Role.VIEWER), _ACT)


def fill_empty(db: Database) -> None:
    """Give every table that is still empty two rows; one that has a row for each record of another, at most so many."""
    for table in tables_of(db):
        if not db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]:
            for number in (1, 2):
                values = dict(_row(db, table, number))
                marks = ", ".join("?" for _ in values)
                insert = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks}) ON CONFLICT DO NOTHING"
                db.execute(insert, tuple(values.values()))


def tables_of(db: Database) -> list[str]:
    """Return the tables that are helm's own, those that others refer to first."""
    rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%sqlite%' ORDER BY name")
    names = [row[0] for row in rows]
    return sorted(names, key=lambda name: (len(_references(db, name)), name))


def _references(db: Database, table: str) -> dict[str, tuple[str, str]]:
    return {row[3]: (row[2], row[4]) for row in db.execute(f"PRAGMA foreign_key_list({table})")}


def _row(db: Database, table: str, number: int) -> Iterable[tuple[str, Any]]:
    references = _references(db, table)
    for _, name, kind, *_ in db.execute(f"PRAGMA table_info({table})").fetchall():
        if name in references:
            other, column = references[name]
            rows = db.execute(f"SELECT {column} FROM {other} ORDER BY {column}").fetchall()
            yield name, rows[(number - 1) % len(rows)][0]
        elif kind == "BYTEA":
            yield name, f"{table} {name} {number}".encode()
        elif kind in ("BIGINT", "INTEGER"):
            yield name, TIME + number if name == "at" or name.endswith("_at") else number
        else:
            yield name, f"{table} {name} {number}"


def dump(db: Database, title: str) -> str:
    """Return a database as SQL, without the times at which steps were taken."""
    db.execute("UPDATE _sqlite_migrations SET applied_at = '2026-01-02 03:04:05.000000+00:00'")
    lines = [line for line in db.iterdump() if "sqlite_sequence" not in line]
    return f"-- {title} Every row here has to survive every later migration.\n" + "\n".join(lines) + "\n"


def make_newest(migrations: Migrations, prefix: str, kind: str) -> tuple[Path, str]:
    """Return the path and the text of the file of the newest step."""
    *_, before, newest = step_names(migrations)
    db = open_file(f"{prefix}{before}")
    try:
        migrations.apply(sqlite_utils.Database(db))
        if migrations is core_migrations and not db.execute("SELECT COUNT(*) FROM users").fetchone()[0]:
            transact(db, add_people)
        transact(db, fill_empty)
        return FOLDER / f"{prefix}{newest}.sql", dump(db, f"A {kind} as {newest} left it.")
    finally:
        db.close()


def main() -> None:
    """Write both."""
    for path, text in (
        make_newest(core_migrations, "", "core.db"),
        make_newest(telemetry_migrations, "telemetry-", "telemetry.db"),
    ):
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
