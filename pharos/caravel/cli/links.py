"""`caravel import`: links, configurations, images and files, and what is shown of what is kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from pharos.caravel.cli.asking import TerminalAnswers, confirm, opened, show
from pharos.caravel.cli.common import json_option, run, state_option, unlocking
from pharos.caravel.cli.posture import managed_device, refuse_if_locked
from pharos.caravel.errors import LinkNameTakenError, ManagedError, UnconfirmedError
from pharos.caravel.login import Method
from pharos.caravel.profiles.confs import ConfStore, KeptConf
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.links import KeptLink, LinkStore
from pharos.caravel.sources.base import Choices, Source, SourceKind, Taken
from pharos.caravel.sources.conf import describe, protocol_of
from pharos.caravel.sources.read import MAX_SOURCE, check_size, read_source
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.noise.keys import KeyPair
from pharos.wire.reality.client import CLIENT_VERSION
from pharos.wire.reality.options import DialOptions, parse_version, render_version
from pharos.wire.reality.sharelink import MAX_LINK, ShareLink

KEEPS: Final = frozenset({SourceKind.LINKS, SourceKind.CONF, SourceKind.COLLECTION})
"""Kinds that join no fleet."""


@click.command("import")
@click.argument("source", metavar="LINK|FILE")
@state_option
@click.option("--name", help="What to call it here (default: as it says itself, or its host); of a fleet, this device.")
@click.option("--replace", is_flag=True, help="Replace another of the same name.")
@click.option("--pick", type=click.IntRange(min=1), help="Which of several QR codes in an image, from the top.")
@click.option("--words", help="The fleet's words, compared and repeated: joins it without being asked.")
@click.option(
    "--post-quantum/--no-post-quantum",
    default=True,
    show_default=True,
    help="Of links: offer ML-KEM, as browsers do. Xray's nodes before May 2025 may fail at it.",
)
@click.option(
    "--client-version",
    default=render_version(CLIENT_VERSION),
    show_default=True,
    help="Of links: the version of Xray as told to the node, which may ask for a certain one.",
)
@json_option
@reports_errors
def import_(
    source: str,
    state: Path,
    name: str | None,
    pick: int | None,
    words: str | None,
    client_version: str,
    *,
    replace: bool,
    post_quantum: bool,
    as_json: bool,
) -> None:
    """Take a link, an image of a QR code, a .pharos file, or a configuration of AmneziaWG or WireGuard.

    What it is shows its content, not its name. '-' reads standard input, which keeps a link out of other users' sight.
    Links and configurations are kept, and need no fleet: caravel proxy --link NAME. What would join a fleet is shown
    first, with the fleet's words.

    \b
    Example:
      caravel import - < link.txt
      caravel import photo.jpg
      caravel import 'vless://…' --name cafe --no-post-quantum
      caravel import office.conf
      caravel import laptop.pharos
    """
    options = DialOptions(post_quantum=post_quantum, version=parse_version(client_version))
    is_said = click.get_current_context().get_parameter_source
    said = any(is_said(key) is not click.core.ParameterSource.DEFAULT for key in ("post_quantum", "client_version"))
    found = opened(_read(source, pick), lambda: _sealing_key(state))
    preview = found.preview()
    if name is not None and len(preview.items) > 1:
        raise click.UsageError("--name is for one, and there are several")
    if found.kind not in KEEPS and not confirm(preview, words):
        raise UnconfirmedError("nothing was done")
    if found.kind is SourceKind.COLLECTION:
        show(preview)
    choices = Choices(
        name=name,
        replace=replace,
        device_name=name or "",
        # What a file says of its links counts, unless somebody says otherwise here.
        options=options if said or found.kind is SourceKind.LINKS else None,
        answers=TerminalAnswers(Method.PASSPHRASE),
        managed=managed_device(),
        unlocking=unlocking(),
    )
    taken = take(found, state, choices)
    if found.kind is SourceKind.LINKS or found.kind is SourceKind.CONF:
        for warning in preview.warnings:
            click.echo(warning, err=True)
    tell(taken, as_json=as_json)


def take(source: Source, state: Path, choices: Choices) -> Taken:
    """Take a source. Raises: CommandError — for what has an exit code of its own."""

    async def act() -> Taken:
        return await source.take(state, choices)

    try:
        taken: Taken = run(act)
    except ManagedError as error:
        raise CommandError(str(error), Exit.REFUSED) from error
    except LinkNameTakenError as error:
        raise CommandError(str(error), Exit.CONFLICT) from error
    return taken


def tell(taken: Taken, *, as_json: bool) -> None:
    """Say what came of a source; nothing secret."""
    facts = [link_facts(one) for one in taken.links] + [conf_facts(one) for one in taken.confs]
    if taken.enrolled is not None:
        enrolled = taken.enrolled
        fleet = enrolled.root_hash.hex()[:16]
        if as_json:
            print_json({"device": enrolled.device_id, "safety_words": enrolled.words, "fleet": fleet})
            return
        click.echo(f"This device is {enrolled.device_id} in fleet {fleet}.")
        click.echo(f"Its safety words, as helm's page shows them: {enrolled.words}")
    elif as_json:
        print_json(facts)
        return
    for link in taken.links:
        click.echo(f"{link.name} leads to {link.link.address}; use it: caravel proxy --link {link.name!r}")
    for conf in taken.confs:
        click.echo(f"kept {describe(conf.name, conf.conf)}; use it: caravel proxy --link {conf.name!r}")


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


def conf_facts(kept: KeptConf) -> dict[str, Any]:
    """Return what may be shown of a configuration: no key but the node's public one."""
    endpoint = kept.peer.endpoint
    assert endpoint is not None, "it was checked"
    return {
        "name": kept.name,
        "protocol": protocol_of(kept.conf),
        "host": endpoint[0],
        "port": endpoint[1],
        "node_key": kept.peer.public_key.hex(),
        "addresses": [str(address) for address in kept.conf.interface.addresses],
        "networks": [str(network) for network in kept.peer.allowed_ips],
        "resolvers": list(kept.conf.interface.dns),
    }


def forget(state: Path, name: str) -> None:
    """Forget the link or configuration of that name.

    Raises: NoSuchLinkError. CommandError — an organisation has locked the profiles.
    """
    refuse_if_locked("forget anything")
    confs = ConfStore(state, unlocking())
    if any(one.name == name for one in confs.all()):
        confs.remove(name)
    else:
        LinkStore(state, unlocking()).remove(name)


def read_link(argument: str) -> ShareLink:
    """Return the link that an argument is; '-' reads it from standard input.

    Raises: LinkFormatError.
    """
    return ShareLink.parse(sys.stdin.readline(MAX_LINK + 2).strip() if argument == "-" else argument)


def _read(source: str, pick: int | None) -> Source:
    if source == "-":
        return read_source(check_size(sys.stdin.buffer.read(MAX_SOURCE + 1)), pick=pick)
    return read_source(source if "://" in source else Path(source), pick=pick)


def _sealing_key(state: Path) -> KeyPair:
    return Fleets(state, unlocking()).open().enrolled().secrets.sealing
