"""helm ca …"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

import click
import trio

from pharos.helm.ca.kit import data_key_of
from pharos.helm.ca.providers import (
    DATA_KEY_CREDENTIAL,
    Provider,
    Sources,
    read_data_key,
    wrap_key_file,
    wrap_passphrase,
    wrap_systemd,
)
from pharos.helm.ca.vault import RecoveryKit
from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import API, print_table
from pharos.helm.store.database import open_store
from pharos.wire.console import print_json, reports_errors
from pharos.wire.files import lock_state_directory, open_state_directory

SUBJECTS = ("fleet_ca", "device_ca", "signing_key", "noise_key")

kit_option = click.option(
    "--kit",
    "kit_file",
    type=click.File("r", encoding="utf-8", errors="replace"),
    help="File with the recovery kit; - for standard input. Without it the kit is asked for.",
)


@click.group()
def ca() -> None:
    """The fleet's certificate authority: its ends, its rotation, and what opens its keys."""


@ca.command()
@state_option
@json_option
@reports_errors
def show(state: Path, *, as_json: bool) -> None:
    """Show the authority: when each certificate ends, the deny list, and who a rotation waits for.

    \b
    Example:
      helm ca show
    """
    view = call(state, "GET", f"{API}/ca")
    if as_json:
        print_json(view)
        return
    click.echo(f"Fleet {view['fleet']}, manifest {view['manifest']['version']}\n")
    names = ("root", "fleet_ca", "device_ca", "next_fleet_ca", "next_device_ca", "controller")
    print_table(
        ("what", "ends", "key"),
        [(name, view[name]["ends_at"], view[name]["key"][:16]) for name in names if view[name]],
    )
    denied = view["deny_list"]
    click.echo(f"\nDeny list: {denied['entries']} entries, version {denied['version']} of epoch {denied['epoch']}")
    _show_rotation(view["rotation"])
    if view["due"]:
        click.echo("\nCertificates that are due to be renewed, when their holders are next here:")
        print_table(("role", "name", "ends"), [(one["role"], one["name"], one["ends_at"]) for one in view["due"]])


def _show_rotation(rotation: dict[str, Any] | None) -> None:
    if rotation is None:
        click.echo("No rotation is under way")
        return
    subjects = ", ".join(rotation["subjects"])
    click.echo(f"Rotation of {subjects}: {rotation['state']}, since {rotation['updated_at']}")
    if rotation["waiting"]:
        click.echo(f"It waits until each of these {rotation['asked']}:")
        print_table(("role", "name"), [(one["role"], one["name"]) for one in rotation["waiting"]])


@ca.command()
@state_option
@click.option("--fleet-ca", is_flag=True, help="The authority of nodes, relays and helm.")
@click.option("--device-ca", is_flag=True, help="The authority of devices.")
@click.option("--signing-key", is_flag=True, help="What signs profiles, deny lists and the audit.")
@click.option("--noise-key", is_flag=True, help="helm's end of the devices' passages.")
@kit_option
@json_option
@reports_errors
def rotate(state: Path, *, kit_file: TextIO | None, as_json: bool, **chosen: bool) -> None:
    """Exchange the authority's keys; all of them, unless some are named. Tunnels do not notice.

    It opens the root, so it takes the recovery kit. helm goes on by itself from there, at the pace of who is here;
    helm ca show tells how far it is.

    \b
    Example:
      helm ca rotate
      helm ca rotate --device-ca --kit kit.txt
    """
    subjects = [name for name in SUBJECTS if chosen[name]] or list(SUBJECTS)
    answer = call(state, "POST", f"{API}/ca/rotate", {"kit": ask_kit(kit_file), "subjects": subjects})
    if as_json:
        print_json(answer)
        return
    click.echo(f"The rotation of {', '.join(answer['subjects'])} has begun; helm ca show says who it waits for")


@ca.command()
@state_option
@click.option(
    "--provider", type=click.Choice([one.value for one in Provider]), required=True, help="Who opens the keys."
)
@click.option("--to", "credential", type=click.Path(path_type=Path), help="With systemd-creds: the credential's file.")
@click.option(
    "--passphrase-file",
    type=click.File("r", encoding="utf-8", errors="replace"),
    help="Where the new passphrase is; - for standard input. Without it it is asked for.",
)
@kit_option
@reports_errors
def wrap(
    state: Path,
    provider: str,
    *,
    credential: Path | None,
    passphrase_file: TextIO | None,
    kit_file: TextIO | None,
) -> None:
    """Choose what opens helm's keys at each start. With --kit also when what did so until now is lost.

    \b
    Example:
      helm ca wrap --provider passphrase
      helm ca wrap --provider systemd-creds --to /etc/credstore.encrypted/pharos-data-key
      helm ca wrap --provider key-file --kit -
    """
    directory = open_state_directory(state)
    if kit_file is None:
        key = read_data_key(directory, Sources.of_process())
    else:
        kit = RecoveryKit.parse(kit_file.read())
        with lock_state_directory(directory), open_store(directory) as store:
            key = trio.run(store.run, data_key_of, kit)
    match Provider(provider):
        case Provider.KEY_FILE:
            wrap_key_file(directory, key)
        case Provider.PASSPHRASE:
            wrap_passphrase(directory, key, _new_passphrase(passphrase_file))
        case Provider.SYSTEMD:
            if credential is None:
                raise click.UsageError("say with --to where systemd shall find the credential")
            wrap_systemd(directory, key, credential)
            click.echo(f"Have the service load it: LoadCredentialEncrypted={DATA_KEY_CREDENTIAL}:{credential}")
    click.echo(f"From the next start on helm's keys open with: {provider}")


def _new_passphrase(file: TextIO | None) -> str:
    if file is not None:
        return file.read().rstrip("\n")
    text: str = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return text


def ask_kit(file: TextIO | None) -> str:
    """Return the recovery kit as somebody types it, or out of a file."""
    if file is not None:
        return file.read()
    text: str = click.prompt("Recovery kit", hide_input=True, err=True)
    return text
