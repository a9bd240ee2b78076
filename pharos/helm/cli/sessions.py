"""helm sessions …"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import API, path_of, print_table, read_all, read_one
from pharos.wire.console import print_json, reports_errors

# One page of the API.
_PAGE: Final = 500


@click.group()
def sessions() -> None:
    """Which device was connected to which node, and when."""


@sessions.command("list")
@state_option
@click.option("--node", help="At this node, by id or name.")
@click.option("--device", help="Of this device, by id or name.")
@click.option("--user", help="Of this user's devices, by id or name.")
@click.option("--live/--ended", default=None, help="Only those that last, or those that do not (default: both).")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@json_option
@reports_errors
def list_(state: Path, limit: int, *, live: bool | None, as_json: bool, **of: str | None) -> None:
    """List sessions, the newest first.

    \b
    Example:
      helm sessions list --live
      helm sessions list --device laptop --json
    """
    filters = {noun: read_one(state, f"{noun}s", value)["id"] for noun, value in of.items() if value is not None}
    if live is not None:
        filters["live"] = str(live).lower()
    found = _read(state, limit, filters)
    if as_json:
        print_json(found)
        return
    names = {record["id"]: record["name"] for noun in ("nodes", "devices") for record in read_all(state, noun)}
    print_table(
        ("device", "node", "from", "last handshake", "until", "by", "endpoint"),
        [
            (
                names.get(session["device_id"], session["device_id"]),
                names.get(session["node_id"], session["node_id"]),
                _time(session["opened_at"]),
                _time(session["seen_at"]),
                "live" if session["live"] else f"{_time(session['ended_at'])} ({session['reason']})",
                session["protocol"],
                session["endpoint"],
            )
            for session in found
        ],
    )


@sessions.command()
@click.argument("session")
@state_option
@reports_errors
def end(session: str, state: Path) -> None:
    """Have the node end a session now, by its id. The device may come again: helm devices disable keeps it out.

    \b
    Example:
      helm sessions list --live --json
      helm sessions end 019b7c12-5d2c-7e51-8d1c-2f4b6a7c8d9e
    """
    call(state, "POST", path_of("sessions", session, "end"))
    click.echo("the session is ended; the device may come again")


def _read(state: Path, limit: int, filters: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None and len(found) < limit:
        query = filters | {"limit": str(min(_PAGE, limit - len(found)))} | ({"cursor": cursor} if cursor else {})
        page = call(state, "GET", f"{API}/sessions?{urlencode(query)}")
        found += page["items"]
        cursor = page["cursor"]
    return found


def _time(text: str) -> str:
    return text[:19].replace("T", " ")
