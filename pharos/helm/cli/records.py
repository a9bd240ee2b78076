"""What the commands of every noun do alike: find a record by id or name, list, show, change what was seen."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pharos.helm.cli.api import call
from pharos.wire.console import CommandError, Exit, print_json

API = "/api/v1"
_PAGE = 500


def read_all(state: Path, noun: str, filters: Mapping[str, str | None] | None = None) -> list[dict[str, Any]]:
    """Return every record of a noun that fits, page by page; a filter that is None is none."""
    found: list[dict[str, Any]] = []
    query = {name: value for name, value in (filters or {}).items() if value is not None}
    cursor = ""
    while True:
        parameters = urlencode(query | {"limit": str(_PAGE)} | ({"cursor": cursor} if cursor else {}))
        page = call(state, "GET", f"{API}/{noun}?{parameters}")
        found += page["items"]
        cursor = page["cursor"]
        if not cursor:
            return found


def read_one(state: Path, noun: str, id_or_name: str) -> dict[str, Any]:
    """Return the record with that id, or the only one with that name, as it is shown alone.

    Raises: CommandError — none, or several; the message lists their ids.
    """
    matches = [r for r in read_all(state, noun) if id_or_name in (r["id"], r.get("name"))]
    exact = [record for record in matches if record["id"] == id_or_name] or matches
    if not exact:
        raise CommandError(f"there is no {noun.removesuffix('s')} {id_or_name!r}; see: helm {noun} list")
    if len(exact) > 1:
        ids = ", ".join(record["id"] for record in exact)
        raise CommandError(f"{id_or_name!r} is the name of {len(exact)} {noun}: {ids}", Exit.CONFLICT)
    return call(state, "GET", path_of(noun, exact[0]["id"]))


def path_of(noun: str, record_id: str, *more: str) -> str:
    """Return the path of a record, or of one of its acts."""
    return "/".join([API, noun, quote(record_id, safe=""), *more])


def change(state: Path, noun: str, record: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Change a record as it was read; somebody else's change in between is a conflict (exit code 4)."""
    return call(state, "PATCH", path_of(noun, record["id"]), dict(body), version=record["version"])


def remove(state: Path, noun: str, record: Mapping[str, Any]) -> None:
    """Remove a record as it was read."""
    call(state, "DELETE", path_of(noun, record["id"]), version=record["version"])


def do(
    state: Path, noun: str, record: Mapping[str, Any], act: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Do one of a record's acts, as it was read."""
    return call(
        state,
        "POST",
        path_of(noun, record["id"], act),
        None if body is None else dict(body),
        version=record["version"],
    )


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table. Names are people's own words: nothing in them is markup or moves the cursor."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    Console().print(table)


def plain(cell: object) -> str:
    """Return a cell's text without control characters; nothing is a dash."""
    if cell is None or cell in ("", [], {}):
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    text = ", ".join(map(_said, cell)) if isinstance(cell, list) else _said(cell)
    return "".join(sign if sign.isprintable() else "�" for sign in text)


def _said(value: object) -> str:
    """Return a value as people say it: another record by its name, and facts that have none one after the other."""
    if not isinstance(value, dict):
        return str(value)
    return str(value["name"]) if "name" in value else " ".join(f"{name} {fact}" for name, fact in value.items())


def print_record(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one record, a member a line."""
    if as_json:
        print_json(dict(record))
        return
    width = max(map(len, record))
    for name, value in record.items():
        click.echo(f"{name.replace('_', ' '):{width}}  {plain(value)}")


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone; where nobody can be asked, ``--yes`` has to be there.

    Raises: CommandError — nobody to ask. click.Abort — no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("this cannot be undone; say --yes", Exit.USAGE)
    click.confirm(question, abort=True)
