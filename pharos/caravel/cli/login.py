"""`caravel login`, and what an account can do from a device: `caravel devices` and `caravel confirm`."""

from __future__ import annotations

import datetime
import platform
import sys
from pathlib import Path
from typing import Any, Final

import click
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pharos.caravel.cli.common import json_option, run, state_option, unlocking
from pharos.caravel.devices import Account, OwnDevice, open_account
from pharos.caravel.enrolment import ENROLMENT_TIMEOUT, prepare
from pharos.caravel.errors import NoAnswerError, WrongPassphraseError
from pharos.caravel.login import CONFIRM_TIMEOUT, Begun, Login, Method, open_login
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.store import Enrolled, ProfileStore
from pharos.wire.console import CommandError, Exit, print_facts, print_json, reports_errors
from pharos.wire.seal.ticket import BeaconAddress, FleetLink

TRIES: Final = 3
"""Of a passphrase on a terminal, before one has to begin anew."""
MAX_NAME: Final = 64


@click.command("login")
@click.argument("link", required=False)
@state_option
@click.option(
    "--beacon", "beacons", multiple=True, metavar="ID@HOST:PORT", help="Without a link: a beacon; repeatable."
)
@click.option("--root", metavar="HEX", help="Without a link: SHA-256 of the fleet's root key.")
@click.option("--email", help="Your mail address, as the fleet knows it (default: ask).")
@click.option(
    "--method",
    type=click.Choice([method.value for method in Method]),
    default=Method.PASSPHRASE.value,
    show_default=True,
    help="By your passphrase, a code that somebody confirms, or the fleet's OpenID provider.",
)
@click.option("--name", default="", help="What to call this device (default: its host name).")
@json_option
@reports_errors
def login_(
    link: str | None,
    state: Path,
    beacons: tuple[str, ...],
    root: str | None,
    email: str | None,
    method: str,
    name: str,
    *,
    as_json: bool,
) -> None:
    """Join a fleet with your account. The link is no secret: whoever runs the fleet has it.

    The passphrase is asked for on a terminal, else read from standard input: one line.

    \b
    Example:
      caravel login 'pharosvpn://fleet?v=1&b=…'
      caravel login 'pharosvpn://fleet?v=1&b=…' --email ada@example.org --method code
    """
    fleet, way = _fleet_link(link, beacons, root), Method(method)
    # Before anything is asked: whoever is in this fleet already need not say who they are.
    store = Fleets(state, unlocking()).store_for(fleet.fleet)
    prepare(store, fleet.fleet)
    if email is None and way is not Method.OIDC:
        email = _ask("Mail address", hide=False)
    passphrase = _ask("Passphrase", hide=True) if way is Method.PASSPHRASE else ""
    device_name = (name or platform.node() or "device")[:MAX_NAME]

    async def join() -> Enrolled:
        with trio.move_on_after(ENROLMENT_TIMEOUT) as patience:
            async with open_login(fleet) as login:
                begun = await login.begin(way, email=email or "", device_name=device_name)
                patience.deadline += CONFIRM_TIMEOUT
                if way is Method.PASSPHRASE:
                    await _say_passphrase(login, passphrase)
                else:
                    _show(begun)
                    await login.wait_confirmed()
                return await login.enrol(store)
        raise NoAnswerError("no relay of the fleet let us in in time; try again")

    enrolled = run(join)
    profile = store.profile(datetime.datetime.now(datetime.UTC))
    if as_json:
        print_json(
            {
                "device": enrolled.device_id,
                "safety_words": enrolled.words,
                "name": device_name,
                "fleet": profile.fleet,
                "addresses": list(profile.addresses),
                "nodes": [node.name for node in profile.nodes],
            }
        )
        return
    click.echo(f"This device is {device_name}, {enrolled.device_id} in fleet {profile.fleet}.")
    click.echo(f"Its safety words, as helm's page shows them: {enrolled.words}")
    click.echo(f"It can reach: {', '.join(node.name for node in profile.nodes) or 'no node yet'}.")


async def _say_passphrase(login: Login, passphrase: str) -> None:
    for left in reversed(range(TRIES)):
        try:
            await login.say_passphrase(passphrase)
        except WrongPassphraseError as error:
            if not left or not sys.stdin.isatty():
                raise
            click.echo(str(error), err=True)
            # In a thread: the passage has to be kept alive meanwhile.
            passphrase = await trio.to_thread.run_sync(lambda: _ask("Passphrase", hide=True), abandon_on_cancel=True)
        else:
            return


def _show(begun: Begun) -> None:
    minutes = begun.seconds // 60
    if begun.verification_uri:
        click.echo(f"Open {begun.verification_uri} and type the code {begun.code}, within {minutes} minutes.", err=True)
        return
    click.echo(f"The code of this device is {begun.code}, for {minutes} minutes. To let it in,", err=True)
    click.echo(f"  on another device of yours:  caravel confirm {begun.code}", err=True)
    click.echo(f"  or whoever runs the fleet:   helm users confirm {begun.code}", err=True)


def _ask(what: str, *, hide: bool) -> str:
    if sys.stdin.isatty():
        answer: str = click.prompt(what, hide_input=hide, err=True)
        return answer
    line = sys.stdin.readline().strip()
    if not line:
        raise CommandError(f"{what.lower()}: nobody to ask, and nothing on standard input", Exit.USAGE)
    return line


def _fleet_link(link: str | None, beacons: tuple[str, ...], root: str | None) -> FleetLink:
    if link is not None and not beacons and root is None:
        return FleetLink.parse(sys.stdin.readline().strip() if link == "-" else link)
    if link is not None or not beacons or root is None:
        raise click.UsageError("say a link, or --beacon and --root")
    try:
        return FleetLink(beacons=tuple(map(BeaconAddress.parse, beacons)), root_hash=bytes.fromhex(root))
    except ValueError as error:
        raise click.UsageError(f"--beacon and --root: {error}") from error


@click.group("devices")
def devices_() -> None:
    """Your own devices, from any of them.

    \b
    Example:
      caravel devices list
    """


@devices_.command("list")
@state_option
@json_option
@reports_errors
def list_(state: Path, *, as_json: bool) -> None:
    """List your devices.

    \b
    Example:
      caravel devices list
    """

    async def act() -> Any:
        async with open_account(ProfileStore(state, unlocking=unlocking())) as account:
            return await account.devices()

    found = run(act)
    if as_json:
        print_json({"devices": [_facts(device) for device in found.devices], "limit": found.limit or None})
        return
    table = Table("name", "state", "since", "id", "", box=None, pad_edge=False)
    for device in found.devices:
        cells = (device.name, device.state, f"{device.enrolled_at:%Y-%m-%d}", device.id, "this" if device.this else "")
        table.add_row(*map(Text, cells))
    Console().print(table)
    if found.limit:
        click.echo(f"{len(found.devices)} of {found.limit} that you may have", err=True)


@devices_.command()
@click.argument("device")
@click.argument("name")
@state_option
@json_option
@reports_errors
def rename(device: str, name: str, state: Path, *, as_json: bool) -> None:
    """Give one of your devices another name; it is named by its id or name.

    \b
    Example:
      caravel devices rename laptop "old laptop"
    """

    async def act(account: Account) -> OwnDevice:
        return await account.rename((await account.find(device)).id, name)

    changed = _with_account(state, act)
    _print(changed, f"it is called {changed.name} now", as_json=as_json)


@devices_.command()
@click.argument("device")
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_option
@json_option
@reports_errors
def revoke(device: str, state: Path, *, yes: bool, as_json: bool) -> None:
    """Put one of your devices out of the fleet, for good: one that was lost, or is another's now.

    \b
    Example:
      caravel devices revoke "old laptop"
    """

    async def find(account: Account) -> OwnDevice:
        return await account.find(device)

    found = _with_account(state, find)
    _confirm(f"Revoke {found.name} ({found.id}){', which is this device' if found.this else ''}?", yes=yes)

    async def act(account: Account) -> OwnDevice:
        return await account.revoke(found.id)

    _print(_with_account(state, act), f"{found.name} is revoked", as_json=as_json)


@click.command()
@click.argument("code")
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_option
@json_option
@reports_errors
def confirm(code: str, state: Path, *, yes: bool, as_json: bool) -> None:
    """Let another device of yours in, by the code that it shows: caravel login … --method code.

    It says first what it would let in. Say no to what you have not begun yourself.

    \b
    Example:
      caravel confirm BCDF-GHJK
    """

    async def look(account: Account) -> Any:
        return await account.show_login(code)

    login = _with_account(state, look)
    age = int((datetime.datetime.now(datetime.UTC) - login.asked_at).total_seconds())
    click.echo(
        f"A device that calls itself {login.device_name!r} logs in as {login.user_name}, since {age} s.", err=True
    )
    _confirm("Have you begun that yourself, and shall it have your access?", yes=yes)

    async def act(account: Account) -> Any:
        return await account.confirm_login(code)

    done = _with_account(state, act)
    print_facts({"user": done.user_name, "device_name": done.device_name, "confirmed": True}, as_json=as_json)


def _with_account(state: Path, act: Any) -> Any:
    async def main() -> Any:
        async with open_account(ProfileStore(state, unlocking=unlocking())) as account:
            return await act(account)

    return run(main)


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("this cannot be undone; say --yes", Exit.USAGE)
    click.confirm(question, abort=True, err=True)


def _print(device: OwnDevice, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_facts(device))
    else:
        click.echo(sentence)


def _facts(device: OwnDevice) -> dict[str, Any]:
    return {
        "id": device.id,
        "name": device.name,
        "state": device.state,
        "enrolled_at": device.enrolled_at.isoformat(timespec="seconds"),
        "this": device.this,
    }
