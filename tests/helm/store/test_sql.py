"""Every SQL statement in helm's code is one that PostgreSQL takes as well, so that it can be the second backend.

Statements are read from the syntax trees: any text that begins as SQL does. What an f-string puts in is evaluated where
it stands; a name that only a call knows is tried as an identifier, a mark or a condition.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

import pharos.helm.store
from pharos.helm.store.records import Noun

HELM = Path(pharos.helm.store.__file__).parent.parent
BEGINS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|WITH|REPLACE|PRAGMA|VACUUM|BEGIN|SAVEPOINT)\b")
# What opens, checks and copies files, and runs transactions, is SQLite's own; a second backend brings its own.
OF_SQLITE = {"store/connections.py", "store/checks.py", "store/copies.py", "store/watch.py", "store/writer.py"}
FUNCTIONS = {"COUNT", "COALESCE", "MAX", "MIN", "SUM", "LOWER", "LENGTH", "ABS", "AVG"}
KEYWORDS = {"IN", "VALUES", "KEY", "CHECK", "AND", "OR", "NOT", "EXISTS", "UNIQUE", "CONFLICT", "WHERE", "AS", "BY"} | {
    *("SELECT", "FROM", "ON", "THEN", "ELSE", "WHEN", "OVER", "SET", "UNION", "ALL", "MATERIALIZED")
}
TYPES = {"BIGINT", "DOUBLE", "TEXT", "VARBINARY", "INT"}
"""As sqlglot names them: VARBINARY is BYTEA, DOUBLE is DOUBLE PRECISION.

INTEGER PRIMARY KEY is the one thing that each has in its own way.
"""
SQLITE_NAMES = {"rowid", "_rowid_", "oid", "sqlite_master", "sqlite_schema", "sqlite_sequence"}
NODES = (
    exp.Command,
    exp.Pragma,
    exp.Glob,
    exp.NullSafeEQ,
    exp.AutoIncrementColumnConstraint,
    exp.JSONExtract,
    exp.JSONExtractScalar,
)
# What a name that is known at run time only may stand for, in the order in which it is tried.
STANDS_FOR = ("x", ":p", "x = :p", "", " WHERE x = :p", "ASC", ">")


def find_fault(sql: str) -> str:
    """Return what keeps a statement from being both SQLite's and PostgreSQL's; an empty string if nothing does."""
    # Each driver has marks of its own; these are the parsers' common ones.
    sql = re.sub(r"\?", ":p", sql)
    parsed: list[Any] = []
    for dialect in ("sqlite", "postgres"):
        try:
            found = sqlglot.parse_one(sql, read=dialect)
        except (ParseError, TokenError) as error:
            return f"{dialect} does not take it: {error}"
        parsed.append(found)
    bare = re.sub(r"'[^']*'", "''", sql)
    words = re.findall(r"(\w+\s+)?\b(\w+)\s*\(", bare)
    called = {
        name.upper()
        for before, name in words
        if before.strip().upper() not in {"INTO", "REFERENCES", "TABLE", "ON", "WITH"}
    }
    if unknown := called - FUNCTIONS - KEYWORDS:
        return f"functions that are not in both: {sorted(unknown)}"
    return next((fault for tree in parsed for node in tree.walk() if (fault := _fault_of(node))), "")


def _fault_of(node: Any) -> str:
    if isinstance(node, NODES):
        return f"{type(node).__name__} is SQLite's alone"
    if isinstance(node, exp.Insert) and node.args.get("alternative"):
        return "INSERT OR … is SQLite's alone: say ON CONFLICT"
    if isinstance(node, exp.Identifier) and (node.args.get("quoted") or node.name.lower() in SQLITE_NAMES):
        return f"the name {node.name!r} means another thing in PostgreSQL"
    if isinstance(node, exp.DataType) and node.this.name not in TYPES:
        return f"the type {node.this.name} is not in both"
    if isinstance(node, exp.Max | exp.Min | exp.Greatest | exp.Least) and node.expressions:
        return "MAX and MIN of several values are SQLite's alone"
    if isinstance(node, exp.Delete | exp.Update) and node.args.get("limit"):
        return "LIMIT belongs to SELECT"
    if isinstance(node, exp.Limit) and isinstance(node.expression, exp.Neg):
        return "LIMIT is not negative"
    return ""


def statements_in(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Give the line of each text that begins as SQL does, and what it may be when it runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in inner or not isinstance(node, ast.JoinedStr | ast.Constant):
            continue
        begin = _begin_of(node, path)
        if not BEGINS.match(begin):
            continue
        # One word alone is no statement that could be wrong: BEGIN, or the DELETE of HTTP.
        if isinstance(node, ast.JoinedStr) or len(begin.split()) > 1:
            yield node.lineno, list(_versions_of(node, path))


def _begin_of(node: ast.JoinedStr | ast.Constant, path: Path) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    first = node.values[0] if node.values else None
    if isinstance(first, ast.FormattedValue) and isinstance(first.value, ast.Name):
        return str(getattr(_module_of(path), first.value.id, ""))
    return str(first.value) if isinstance(first, ast.Constant) else ""


def _module_of(path: Path) -> Any:
    return importlib.import_module(f"pharos.helm.{'.'.join(path.relative_to(HELM).with_suffix('').parts)}")


def _versions_of(node: ast.JoinedStr | ast.Constant, path: Path) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
        return
    module = _module_of(path)
    nouns: list[Noun[Any] | None] = [*(all_nouns() if "noun" in ast.unparse(node) else [None])]
    for noun in nouns:
        for stands_for in STANDS_FOR:
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else _value_of(part, module, noun, stands_for)
                for part in node.values
            )


def _value_of(part: ast.expr, module: Any, noun: Noun[Any] | None, stands_for: str) -> str:
    assert isinstance(part, ast.FormattedValue)
    try:
        names = vars(module) | ({"noun": noun} if noun else {})
        return str(eval(compile(ast.Expression(part.value), "<sql>", "eval"), names))
    except (NameError, AttributeError):
        return stands_for


def all_nouns() -> list[Noun[Any]]:
    found: dict[str, Noun[Any]] = {}
    for path in sorted((HELM / "store").glob("*.py")):
        module = importlib.import_module(f"pharos.helm.store.{path.stem}")
        found |= {value.table: value for value in vars(module).values() if isinstance(value, Noun)}
    return list(found.values())


SOURCES = [path for path in sorted(HELM.rglob("*.py")) if path.relative_to(HELM).as_posix() not in OF_SQLITE]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(HELM).as_posix())
def test_statements_are_those_of_both_databases(path: Path) -> None:
    for line, versions in statements_in(path):
        faults = []
        for version in versions:
            found = [find_fault(statement) for statement in version.split(";") if statement.strip()]
            if not any(found):
                break
            faults.append(next(fault for fault in found if fault))
        else:
            pytest.fail(f"{path.name}:{line}: {faults[0]}\n{versions[0]}")


def test_search_finds_whatever_is_executed() -> None:
    missed = []
    for path in SOURCES:
        found = {line for line, _ in statements_in(path)}
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "execute":
                said = ast.unparse(call.args[0])
                # A name stands for a text that was found where it was given that name.
                of_transactions = re.match(r"'(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b", said)
                if not said.isidentifier() and not of_transactions and call.args[0].lineno not in found:
                    missed.append(f"{path.name}:{call.lineno}: {said}")
    assert missed == []


@pytest.mark.parametrize("noun", all_nouns(), ids=lambda noun: noun.table)
def test_lists_of_a_noun_are_those_of_both_databases(noun: Noun[Any]) -> None:
    for condition in noun.filters.values():
        if callable(condition):
            # One wants a time, others any word.
            condition, _ = condition("2027-01-01T00:00:00Z")
        assert not find_fault(f"SELECT {noun.all_columns} FROM {noun.table} WHERE {condition}")
    for column in noun.sorts.values():
        assert not find_fault(
            f"SELECT {noun.all_columns} FROM {noun.table} WHERE ({column}, id) < (?, ?)"
            f" ORDER BY {column} DESC, id DESC LIMIT ?"
        )


@pytest.mark.parametrize(
    "bad",
    [
        "INSERT OR REPLACE INTO users (id) VALUES (?)",
        "INSERT OR IGNORE INTO users (id) VALUES (?)",
        "REPLACE INTO users (id) VALUES (?)",
        "SELECT rowid FROM users",
        "SELECT id FROM users ORDER BY users.oid",
        "SELECT name FROM sqlite_master",
        "SELECT IFNULL(name, '') FROM users",
        "SELECT id FROM users WHERE at < strftime('%s')",
        "SELECT datetime('now')",
        "SELECT MAX(a, b) FROM users",
        "SELECT id FROM users WHERE name GLOB 'a*'",
        "SELECT id FROM users WHERE name IS ?",
        "SELECT id FROM users LIMIT -1",
        "SELECT `id` FROM users",
        'SELECT id FROM users WHERE name = "ada"',
        "SELECT [id] FROM users",
        "DELETE FROM users WHERE id = ? LIMIT 1",
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)",
        "CREATE TABLE t (id TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE t (at DATETIME)",
        "CREATE TABLE t (flag BOOLEAN)",
        "SELECT json_extract(body, '$.x') FROM outbox",
        "SELECT body ->> '$.x' FROM outbox",
        "PRAGMA user_version",
        "SELEC id FROM users",
    ],
)
def test_statement_of_sqlite_alone_is_found(bad: str) -> None:
    assert find_fault(bad)


def test_statement_in_any_text_is_found(tmp_path: Path) -> None:
    source = tmp_path / "sample.py"
    source.write_text('QUERY = (\n    "SELECT rowid "\n    "FROM users"\n)\n\n\ndef f(db):\n    db.execute(QUERY)\n')
    ((line, (statement,)),) = statements_in(source)
    assert (line, find_fault(statement)) == (2, "the name 'rowid' means another thing in PostgreSQL")
