"""`caravel export` and `caravel key`: links, configurations and the whole device, for another program or device."""

from __future__ import annotations

import os
import time
from pathlib import Path

import attrs
import click

from pharos.caravel.cli.asking import ask, at_terminal
from pharos.caravel.cli.common import json_option, state_option, unlocking, with_client
from pharos.caravel.cli.posture import refuse_if_locked
from pharos.caravel.client import Client
from pharos.caravel.profiles.confs import ConfStore, KeptConf
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.links import SCHEME, KeptLink, LinkStore
from pharos.caravel.profiles.vault import MIN_PASSPHRASE
from pharos.caravel.sources.pharosfile import content_of_device, content_of_kept
from pharos.wire.awg.conf import render
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.errors import LocalProtocolError
from pharos.wire.files import PRIVATE_FILE
from pharos.wire.noise.keys import check_public_key
from pharos.wire.reality.sharelink import ShareLink, qr_text
from pharos.wire.seal.filecontent import Content, encode_content
from pharos.wire.seal.pharosfile import seal_file

WARNING = "This holds the secret: whoever has it uses the node as you. Show it to nobody else, and keep it in no chat."
DEVICE_WARNING = (
    "The file is this device. Import it on one other machine, and forget it here: two that are one disturb each other."
)


@click.command()
@click.argument("names", nargs=-1)
@state_option
@click.option("--node", "of_node", is_flag=True, help="NAME is a node of your fleet: a link for another program.")
@click.option("--device", "whole", is_flag=True, help="This whole device, for another machine of yours; needs --file.")
@click.option("--qr", is_flag=True, help="Draw a QR code for another device's camera instead.")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Write a .pharos file, which must not be there.")
@click.option("--for", "recipient", metavar="KEY", help="Close the file for one device: see caravel key.")
@click.option("--open", "is_open", is_flag=True, help="Close the file to nobody, instead of with a passphrase.")
@json_option
@reports_errors
def export(
    names: tuple[str, ...],
    state: Path,
    path: Path | None,
    recipient: str | None,
    *,
    of_node: bool,
    whole: bool,
    qr: bool,
    is_open: bool,
    as_json: bool,
) -> None:
    """Hand on a link or a configuration that was imported. It holds the secret.

    With --node it is a link into a node of this device's fleet, for programs that speak VLESS. To the node they are
    this device, and nobody renews their link: when helm re-issues anything in it, export it again.

    With --file several go into a .pharos file, closed with a passphrase (asked for, or a line of standard input).

    \b
    Example:
      caravel export cafe --qr
      caravel export amsterdam --node
      caravel export cafe office --file mine.pharos
      caravel export --device --file laptop.pharos
    """
    refuse_if_locked("export anything")
    if (recipient is not None or is_open) and path is None:
        raise click.UsageError("--for and --open are of a file; say --file")
    if recipient is not None and is_open:
        raise click.UsageError("say --for or --open, and not both")
    if whole != (not names) or (whole and (path is None or of_node or qr)):
        raise click.UsageError("say what to export, or --device with --file")
    if path is not None:
        if of_node or qr:
            raise click.UsageError("--file takes what was imported, or --device")
        content = _content(state, names, whole=whole)
        _write(path, content, recipient, is_open=is_open)
        click.echo(DEVICE_WARNING if whole else WARNING, err=True)
        if as_json:
            print_json({"file": str(path)})
        else:
            click.echo(f"wrote {path}")
        return
    if len(names) != 1:
        raise click.UsageError("several are exported into a file; say --file")
    text = _text_of(state, names[0], of_node=of_node)
    drawn = qr_text(text) if qr else text
    click.echo(WARNING, err=True)
    if as_json:
        print_json({"name": names[0], "link" if text.startswith(SCHEME) else "conf": text})
        return
    click.echo(drawn, nl=not qr and not drawn.endswith("\n"))


@click.command()
@state_option
@json_option
@reports_errors
def key(state: Path, *, as_json: bool) -> None:
    """Print the key for which another device closes a file for this one; it is no secret.

    \b
    Example:
      caravel key
      caravel export cafe --file cafe.pharos --for KEY     on the other device
    """
    public = Fleets(state, unlocking()).open().enrolled().secrets.sealing.public.hex()
    if as_json:
        print_json({"key": public})
    else:
        click.echo(public)


def _content(state: Path, names: tuple[str, ...], *, whole: bool) -> Content:
    if whole:
        return content_of_device(Fleets(state, unlocking()).open())
    kept = [_kept(state, name) for name in dict.fromkeys(names)]
    links = tuple(one for one in kept if isinstance(one, KeptLink))
    return content_of_kept(links, tuple(one for one in kept if isinstance(one, KeptConf)))


def _kept(state: Path, name: str) -> KeptLink | KeptConf:
    for one in ConfStore(state, unlocking()).all():
        if one.name == name:
            return one
    return LinkStore(state, unlocking()).find(name)


def _text_of(state: Path, name: str, *, of_node: bool) -> str:
    if of_node:
        return _link_of_node(state, name).render()
    kept = _kept(state, name)
    if isinstance(kept, KeptConf):
        return render(kept.conf)
    # Under the name that it has here.
    return attrs.evolve(kept.link, name=name).render()


def _link_of_node(state: Path, name: str) -> ShareLink:
    async def find(client: Client) -> ShareLink:
        return client.share_link(name)

    link: ShareLink = with_client(state, find)
    return link


def _write(path: Path, content: Content, recipient: str | None, *, is_open: bool) -> None:
    recipient_key = None if recipient is None else _public_key(recipient)
    passphrase = None
    if recipient_key is None and not is_open:
        passphrase = ask("Passphrase for the file", hide=True)
        if len(passphrase) < MIN_PASSPHRASE:
            few = f"a passphrase has at least {MIN_PASSPHRASE} characters; four random words are good"
            raise CommandError(few, Exit.USAGE)
        if at_terminal() and ask("The same again", hide=True) != passphrase:
            raise CommandError("these were two passphrases; nothing was written", Exit.USAGE)
    data = seal_file(encode_content(content), made=int(time.time()), passphrase=passphrase, recipient_key=recipient_key)
    # Never through a link that somebody else has put there, and never over another file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags, PRIVATE_FILE)
    except FileExistsError:
        raise CommandError(f"{path} is there already; choose another name, or remove it", Exit.CONFLICT) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # Half of a file opens nowhere, and would be in the way of the next try.
        path.unlink(missing_ok=True)
        raise CommandError(f"{path} cannot be written ({error.strerror}); make room there") from error


def _public_key(text: str) -> bytes:
    try:
        return check_public_key(bytes.fromhex(text))
    except (ValueError, LocalProtocolError):
        raise click.UsageError("--for takes the 64 digits that caravel key prints on the other device") from None
