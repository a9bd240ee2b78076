"""`caravel import` and `caravel export`: share links in, and out again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs
import click

from pharos.caravel.cli.common import json_option, state_option, with_client
from pharos.caravel.client import Client
from pharos.caravel.errors import LinkNameTakenError
from pharos.caravel.profiles.links import SCHEME, KeptLink, LinkStore
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.errors import LinkFormatError
from pharos.wire.reality.client import CLIENT_VERSION
from pharos.wire.reality.options import DialOptions, parse_version, render_version
from pharos.wire.reality.sharelink import MAX_LINK, ShareLink, qr_text
from pharos.wire.units import KIB

MAX_FILE = 4096 * KIB
"""A thousand links of the longest kind."""
WARNING = "This holds the secret: whoever has it uses the node as you. Show it to nobody else, and keep it in no chat."


@click.command("import")
@click.argument("source", metavar="LINK|FILE")
@state_option
@click.option("--name", help="What to call the link (default: as it says itself, or its host).")
@click.option("--replace", is_flag=True, help="Replace a link of the same name.")
@click.option(
    "--post-quantum/--no-post-quantum",
    default=True,
    show_default=True,
    help="Offer ML-KEM, as browsers do. Xray's nodes before May 2025 may fail at it.",
)
@click.option(
    "--client-version",
    default=render_version(CLIENT_VERSION),
    show_default=True,
    help="Of Xray, as told to the node, which may ask for a certain one.",
)
@json_option
@reports_errors
def import_(
    source: str, state: Path, name: str | None, client_version: str, *, replace: bool, post_quantum: bool, as_json: bool
) -> None:
    """Keep vless:// links, for: caravel proxy --link NAME. No fleet is needed.

    A file may have several, one a line; '-' reads standard input, which keeps a link out of other users' sight. Names
    of fingerprints that caravel has no hello of stand for the browser that is most like them.

    \b
    Example:
      caravel import - < link.txt
      caravel import 'vless://…' --name cafe --no-post-quantum
    """
    options = DialOptions(post_quantum=post_quantum, version=parse_version(client_version))
    links = [ShareLink.parse(text) for text in _texts(source)]
    if not links:
        raise LinkFormatError("there is no link in it")
    if name is not None and len(links) > 1:
        raise click.UsageError("--name is for one link, and there are several")
    kept = [KeptLink(name=name or _name_of(link), link=link, options=options) for link in links]
    taken = {one.name for one in kept}
    if len(taken) < len(kept):
        raise CommandError("two of the links have one name; import them one by one, with --name", Exit.CONFLICT)
    try:
        LinkStore(state).add(*kept, replace=replace)
    except LinkNameTakenError as error:
        raise CommandError(str(error), Exit.CONFLICT) from error
    if as_json:
        print_json([link_facts(one) for one in kept])
        return
    for one in kept:
        click.echo(f"{one.name} leads to {one.link.address}; use it: caravel proxy --link {one.name!r}")


@click.command()
@click.argument("name")
@state_option
@click.option("--node", "of_node", is_flag=True, help="NAME is a node of your fleet: a link for another program.")
@click.option("--qr", is_flag=True, help="Draw a QR code for another device's camera instead.")
@json_option
@reports_errors
def export(name: str, state: Path, *, of_node: bool, qr: bool, as_json: bool) -> None:
    """Print a link that was imported, for another device. It holds the secret.

    With --node it is one into a node of this device's fleet, for programs that speak VLESS. To the node they are this
    device, and nobody renews their link: when helm re-issues anything in it, export it again.

    \b
    Example:
      caravel export cafe --qr
      caravel export amsterdam --node
    """
    link = (_link_of_node(state, name) if of_node else _kept_link(state, name)).render()
    text = qr_text(link) if qr else link
    click.echo(WARNING, err=True)
    if as_json:
        print_json({"name": name, "link": link})
        return
    click.echo(text, nl=not qr)


def link_facts(kept: KeptLink) -> dict[str, Any]:
    """Return what may be shown of a link: not the secret."""
    link = kept.link
    return {
        "name": kept.name,
        "address": str(link.address),
        "server_name": link.server_name,
        "flow": link.flow,
        "fingerprint": link.fingerprint,
        "post_quantum": kept.options.post_quantum,
        "client_version": render_version(kept.options.version),
    }


def read_link(argument: str) -> ShareLink:
    """Return the link that an argument is; '-' reads it from standard input.

    Raises: LinkFormatError.
    """
    return ShareLink.parse(sys.stdin.readline(MAX_LINK + 2).strip() if argument == "-" else argument)


def _kept_link(state: Path, name: str) -> ShareLink:
    # Under the name that it has here.
    return attrs.evolve(LinkStore(state).find(name).link, name=name)


def _link_of_node(state: Path, name: str) -> ShareLink:
    async def ask(client: Client) -> ShareLink:
        return client.share_link(name)

    link: ShareLink = with_client(state, ask)
    return link


def _texts(source: str) -> list[str]:
    if source.startswith(SCHEME):
        return [source]
    if source == "-":
        text = sys.stdin.read(MAX_FILE + 1)
    else:
        with Path(source).open(encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_FILE + 1)
    if len(text) > MAX_FILE:
        raise LinkFormatError(f"a file of links has at most {MAX_FILE // KIB} KiB")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _name_of(link: ShareLink) -> str:
    return link.name.strip() or link.address.host
