"""helm audit …"""

from __future__ import annotations

import base64
import datetime
import re
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click
from rich.console import Console
from rich.table import Table

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.seal.checkpoint import FORMAT

_AUDIT: Final = "/api/v1/audit"
# One page of the API.
_PAGE: Final = 500
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


class Since(click.ParamType[str]):
    """``15m``, ``2h`` or ``7d`` ago, or a time by RFC 3339."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it by RFC 3339; what is neither is a usage error."""
        text = str(value)
        if match := re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text):
            ago = datetime.timedelta(**{_UNITS[match[2]]: int(match[1])})
            return (datetime.datetime.now(datetime.UTC) - ago).isoformat()
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is neither a duration such as 2h nor a time such as 2026-07-01T08:00:00Z", param, ctx)
        # Somebody who names no offset means the clock on the wall.
        return moment.astimezone().isoformat()


@click.group()
def audit() -> None:
    """What was done, by whom, and the proof that nobody altered it."""


@audit.command("list")
@state_option
@click.option("--actor", help="Who did it.")
@click.option("--verb", help="What was done, user_added for instance.")
@click.option("--noun", help="To what kind of record, user for instance.")
@click.option("--subject", help="Id of the record.")
@click.option("--since", type=Since(), help="From when on: 2h, 7d, or a time.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@json_option
@reports_errors
def list_(state: Path, limit: int, *, as_json: bool, **filters: str | None) -> None:
    """List what was done, the newest first.

    \b
    Example:
      helm audit list --since 24h
      helm audit list --actor ada --noun device --json
    """
    found = _read(state, limit, {name: value for name, value in filters.items() if value is not None})
    if as_json:
        print_json(found)
        return
    table = Table("row", "time", "actor", "via", "act", "subject", "detail", box=None, pad_edge=False)
    for row in found:
        time = row["at"][:19].replace("T", " ")
        cells = (row["sequence"], time, row["actor"], row["via"], row["verb"], row["subject"], row["detail"])
        table.add_row(*map(_plain, cells))
    # What strangers wrote is no markup either.
    Console(markup=False).print(table)


def _plain(value: object) -> str:
    """Return a cell without what would move a terminal's cursor: a stranger may have written it."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in str(value))


def _read(state: Path, limit: int, filters: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None and len(found) < limit:
        query = filters | {"limit": str(min(_PAGE, limit - len(found)))} | ({"cursor": cursor} if cursor else {})
        page = call(state, "GET", f"{_AUDIT}?{urlencode(query)}")
        found += page["items"]
        cursor = page["cursor"]
    return found


@audit.command()
@state_option
@click.option(
    "--checkpoint",
    "checkpoint_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A checkpoint that somebody else kept: finds what was cut off or written anew since.",
)
@json_option
@reports_errors
def verify(state: Path, checkpoint_file: Path | None, *, as_json: bool) -> None:
    """Verify that nobody altered, removed or added anything; exit code 1, and the first bad row, if somebody did.

    \b
    Example:
      helm audit verify
      helm audit verify --json | jq -r .checkpoint.signed > kept-elsewhere
      helm audit verify --checkpoint kept-elsewhere
    """
    query = {} if checkpoint_file is None else {"checkpoint": _checkpoint(checkpoint_file)}
    found = call(state, "GET", f"{_AUDIT}/verify?{urlencode(query)}")
    if as_json:
        print_json(found)
        sys.exit(Exit.DONE if found["ok"] else Exit.FAILED)
    if not found["ok"]:
        raise CommandError(f"the audit does not hold: {found['detail']}")
    click.echo(found["detail"])


def _checkpoint(path: Path) -> str:
    """Return what the file holds as base64url, which it may hold already."""
    content = path.read_bytes()
    if content.startswith(FORMAT):
        return base64.urlsafe_b64encode(content).decode()
    return content.decode("ascii", errors="replace").strip()
