"""helm import …"""

from __future__ import annotations

import csv
import datetime
import io
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.lifetimes import Lifetime
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.qrcodes import print_qr, save_qr
from pharos.helm.cli.records import API, plain, print_table
from pharos.helm.imports.csvfile import MAX_OCTETS
from pharos.wire.console import CommandError, Exit, print_json, reports_errors

_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


@click.group("import")
def import_() -> None:
    """Bring lists from elsewhere into the record."""


@import_.command()
@click.argument("file", type=click.File("rb"))
@state_option
@click.option("--apply/--dry-run", default=False, help="Write it; without this, only say what would happen.")
@click.option("--invite", is_flag=True, help="Write a ticket for each, and print the links as CSV, once.")
@click.option(
    "--ttl", type=Lifetime(), default="15m", show_default=True, help="How long tickets can be used, up to 7d."
)
@click.option("--qr", is_flag=True, help="Print each link as a QR code instead.")
@click.option(
    "--qr-dir", type=click.Path(path_type=Path), help="A folder that gets a PNG of each link, by line number."
)
@json_option
@reports_errors
def users(
    file: BinaryIO,
    state: Path,
    *,
    apply: bool,
    invite: bool,
    ttl: datetime.timedelta,
    qr: bool,
    qr_dir: Path | None,
    as_json: bool,
) -> None:
    """Bring people in from a CSV file: everybody or, where anything is wrong, nobody.

    Its first line names the columns: name, and of email, groups, device_limit, quota, expires, note those that you
    have. Groups are there already, and parted by a | from each other.

    \b
    Example:
      helm import users people.csv
      helm import users people.csv --apply --invite --ttl 7d > links.csv
    """
    if (qr or qr_dir) and not invite:
        raise CommandError("a QR code holds a ticket's link; say --invite, too", Exit.USAGE)
    body = {"csv": _text_of(file), "dry_run": not apply, "invite": invite, "seconds": int(ttl.total_seconds())}
    answer = call(state, "POST", f"{API}/import/users", body)
    if qr_dir is not None and apply:
        qr_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for user in answer["users"]:
            # A name is never part of a path.
            save_qr(user["link"], qr_dir / f"line-{user['line']:04}.png")
    if as_json:
        print_json(answer)
    elif answer["problems"]:
        rows = [(problem["line"], problem["column"], problem["says"]) for problem in answer["problems"]]
        print_table(("line", "column", "what is wrong"), rows)
    elif apply and invite:
        _print_links(answer["users"], qr=qr)
    else:
        _print_people(answer["users"])
    if not answer["ok"]:
        raise CommandError("nobody would be imported until that is mended")
    if not as_json:
        done = "are imported" if apply else "would be imported; nothing is written yet: say --apply"
        click.echo(f"{len(answer['users'])} people {done}", err=True)


def _print_people(people: list[dict[str, Any]]) -> None:
    print_table(
        ("line", "name", "email", "groups", "devices", "quota", "until", "note"),
        [
            (
                p["line"],
                p["name"],
                p["email"],
                p["groups"],
                p["device_limit"],
                p["quota_bytes"],
                p["expires_at"],
                p["note"],
            )
            for p in people
        ],
    )


def _print_links(people: list[dict[str, Any]], *, qr: bool) -> None:
    if qr:
        for person in people:
            click.echo(f"\n{plain(person['name'])}, until {person['link_expires_at']}")
            print_qr(person["link"])
        return
    # No cell begins as a formula does: an import refuses such names.
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(("name", "email", "link", "until"))
    writer.writerows((p["name"], p["email"] or "", p["link"], p["link_expires_at"]) for p in people)
    click.echo(out.getvalue(), nl=False)


def _text_of(file: BinaryIO) -> str:
    """Return the file's text. Raises: CommandError — it is too large, or no UTF-8; the message says where."""
    octets = file.read(MAX_OCTETS + 4)
    if octets.startswith(_UTF16):
        raise CommandError("the file is UTF-16; save it as CSV UTF-8", Exit.USAGE)
    try:
        # A file that is cut off here is refused for its size, not for half a character at the end.
        return octets.decode("utf-8", "strict" if len(octets) <= MAX_OCTETS else "replace")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise CommandError(f"line {line} of the file is not UTF-8; save it as CSV UTF-8", Exit.USAGE) from error
