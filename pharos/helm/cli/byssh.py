"""What the commands have in common that reach a machine over ssh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

deb_option = click.option(
    "--deb", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Package to install, not helm's own."
)
host_key_option = click.option("--host-key", help="Fingerprint that you know, SHA256:…; nobody is asked then.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Tell what would be done, and change nothing.")
json_lines_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, an event a line.")


def join_by_ssh(
    state: Path,
    destination: str,
    parts: tuple[str, ...],
    *,
    name: str | None,
    address: str | None,
    deb: Path | None,
    host_key: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a machine a member. Raises: CommandError, InvalidRequestError."""
    from pharos.helm.cli.joining import run_join
    from pharos.helm.onboard.join.wish import Wish

    wish = Wish(**_where(destination, parts), name=name or "", address=address or "", deb=deb)
    run_join(state, wish, host_key=host_key, dry_run=dry_run, as_json=as_json)


def undo_by_ssh(state: Path, destination: str, parts: tuple[str, ...], *, as_json: bool) -> None:
    """Take back what did not come to its end. Raises: CommandError, InvalidRequestError."""
    from pharos.helm.cli.joining import run_undo
    from pharos.helm.onboard.join.wish import Wish

    run_undo(state, Wish(**_where(destination, parts)), as_json=as_json)


def readopt_by_ssh(
    state: Path,
    noun: str,
    record: dict[str, Any],
    destination: str | None,
    *,
    new_keys: bool,
    deb: Path | None,
    as_json: bool,
) -> None:
    """Take a machine back that is known. Raises: CommandError, InvalidRequestError."""
    from pharos.helm.cli.joining import run_join
    from pharos.helm.onboard.join.parts import DEFAULT_PORTS
    from pharos.helm.onboard.join.wish import Wish

    where = destination or record["ssh_destination"]
    if not where:
        raise click.UsageError(
            f"nobody said how ssh reaches {record['name']}: name it (helm {noun} readopt {record['name']} root@HOST),"
            " or carry files with --request"
        )
    wish = Wish(
        **_where(where, ("buoy",) if noun == "nodes" else ("beacon",)),
        name=record["name"],
        address=record["address"],
        deb=deb,
        readopts=record["id"],
        new_keys=new_keys,
        ports={key: record[key] for key in DEFAULT_PORTS if key in record},
    )
    run_join(state, wish, host_key=None, dry_run=False, as_json=as_json)


def _where(destination: str, parts: tuple[str, ...]) -> dict[str, Any]:
    from pharos.helm.onboard.join.parts import Part
    from pharos.helm.onboard.remote import Destination

    return {"destination": Destination.parse(destination), "parts": tuple(Part(each) for each in parts)}
