"""`caravel admin`: helm's desk from this machine, for a device that an owner has given to an admin."""

from __future__ import annotations

import datetime
import functools
import logging
import sys
import webbrowser
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
import trio

from pharos.caravel.admin.acts import DeskSession, by_token, sign_in
from pharos.caravel.admin.kept import KeptSignIn, SignedIn
from pharos.caravel.admin.link import Lane, open_desk_link
from pharos.caravel.admin.page import PORT, open_admin
from pharos.caravel.cli.common import json_option, run, state_option, stop_on_signal, unlocking
from pharos.caravel.client import open_client
from pharos.caravel.errors import DeskError, NotSignedInError
from pharos.wire.console import CommandError, Exit, print_facts, print_json, reports_errors
from pharos.wire.tasks import open_background

_CODES = {403: Exit.REFUSED, 409: Exit.CONFLICT, 412: Exit.CONFLICT, 503: Exit.UNREACHABLE}


@click.group("admin")
def admin() -> None:
    """Use helm's page and act on the fleet from here; for admins' devices (helm admins device).

    \b
    Example:
      caravel admin ui                  helm's page, on this machine's loopback
      caravel admin login ada           for the commands below
      caravel admin status
      caravel admin disable old-phone
    """


@admin.command()
@state_option
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option("--open/--no-open", "opens", default=True, help="Open a browser.")
@json_option
@reports_errors
def ui(state: Path, *, port: int, opens: bool, as_json: bool) -> None:
    """Serve helm's page on this machine's loopback, over this device's passage, until Ctrl-C.

    The link that is printed lets one browser in; when it has been used, the next one is printed. Passkeys work on the
    port that helm's own page has.

    \b
    Example:
      caravel admin ui
      caravel admin ui --port 9000 --no-open
    """

    def tell(address: str, link: str) -> None:
        if as_json:
            print_json({"address": address, "link": link})
        else:
            click.echo(link)

    async def serve() -> None:
        with trio.CancelScope() as scope:
            async with (
                open_client(state, unlocking=unlocking()) as client,
                open_background(functools.partial(stop_on_signal, scope)),
                open_admin(client, port=port, opened=lambda: tell(page.address, page.link)) as page,
            ):
                tell(page.address, page.link)
                if opens:
                    await trio.to_thread.run_sync(webbrowser.open, page.link)
                await trio.sleep_forever()

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _run(serve)


@admin.command()
@click.argument("name", required=False)
@state_option
@click.option("--token", is_flag=True, help="Use an API token of yours instead of name, password and code.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read password and code, or the token, as lines of input.")
@json_option
@reports_errors
def login(name: str | None, state: Path, *, token: bool, from_stdin: bool, as_json: bool) -> None:
    """Sign in at helm for the commands of this device; it lasts until helm ends it, 12 hours at most.

    \b
    Example:
      caravel admin login ada
      caravel admin login --token --stdin < token.txt
    """
    if token == (name is not None):
        raise click.UsageError("say a NAME, or --token")

    def ask(question: str, *, hidden: bool, optional: bool = False) -> str:
        if from_stdin:
            return sys.stdin.readline().strip()
        return str(click.prompt(question, hide_input=hidden, default="" if optional else None, show_default=False))

    if name is None:
        text = ask("Token", hidden=True)
        begin = functools.partial(by_token, token=text)
    else:
        password = ask("Password", hidden=True)
        code = ask("Code (empty for none)", hidden=False, optional=True)
        begin = functools.partial(sign_in, name=name, password=password, code=code)
    signed: SignedIn = _at_desk(state, begin)
    facts = {"name": signed.name or "token", "role": signed.role or "the token's", "until": signed.until.isoformat()}

    async def keep() -> None:
        async with open_client(state, unlocking=unlocking()) as client:
            KeptSignIn(client.store).save(signed)

    _run(keep)
    print_facts(facts, as_json=as_json)


@admin.command()
@state_option
@reports_errors
def logout(state: Path) -> None:
    """End the session of this device's commands, and forget it.

    \b
    Example:
      caravel admin logout
    """
    try:
        _as_admin(state, lambda desk: desk.sign_out())
    finally:
        _forget(state)
    click.echo("signed out")


@admin.command()
@state_option
@json_option
@reports_errors
def status(state: Path, *, as_json: bool) -> None:
    """Show the fleet at a glance: nodes, relays, open alerts, sessions.

    \b
    Example:
      caravel admin status
    """
    seen = _as_admin(state, lambda desk: desk.glance())
    if as_json:
        print_json(seen)
        return
    facts: dict[str, Any] = {"fleet": seen["fleet"]}
    for noun in ("nodes", "relays"):
        down = ", ".join(map(plain, seen[noun]["down"]))
        facts[noun] = f"{seen[noun]['up']} up" + (f", down: {down}" if down else "")
    print_facts(facts | {"sessions": seen["sessions"], "open_alerts": seen["open_alerts"]}, as_json=False)
    for alert in seen["alerts"]:
        click.echo(f"  {alert['severity']:<9}{alert['kind']:<20}{plain(alert['text'])}")


@admin.command()
@state_option
@json_option
@reports_errors
def devices(state: Path, *, as_json: bool) -> None:
    """List the fleet's devices.

    \b
    Example:
      caravel admin devices --json
    """
    found = _as_admin(state, lambda desk: desk.devices())
    if as_json:
        print_json(found)
        return
    for device in found:
        click.echo(f"{device['state']:<10}{device['id']}  {plain(device['name'])}")


def _mover(verb: str, says: str) -> click.Command:
    @click.command(verb, help=f"{says}\n\n\b\nExample:\n  caravel admin {verb} old-phone")
    @click.argument("device")
    @state_option
    @json_option
    @reports_errors
    def move(device: str, state: Path, *, as_json: bool) -> None:
        moved = _as_admin(state, lambda desk: desk.move(device, verb))
        if as_json:
            print_json(moved)
        else:
            click.echo(f"{plain(moved['name'])} is {moved['state']}")

    return move


admin.add_command(_mover("disable", "Keep a device out until it is enabled."))
admin.add_command(_mover("enable", "Let a device in again."))
admin.add_command(_mover("revoke", "Keep a device out for ever."))


@admin.command()
@click.argument("name")
@state_option
@click.option("--user", help="Whose device it will be, by id or name.")
@click.option(
    "--minutes", type=click.IntRange(1, 7 * 24 * 60), default=15, show_default=True, help="How long it lasts."
)
@json_option
@reports_errors
def invite(name: str, state: Path, *, user: str | None, minutes: int, as_json: bool) -> None:
    """Write a ticket for a new device and print its link, which is good for one device.

    \b
    Example:
      caravel admin invite "Ada's phone" --user ada
    """
    made = _as_admin(state, lambda desk: desk.invite(name, user=user, seconds=minutes * 60))
    if as_json:
        print_json(made)
    else:
        click.echo(made["link"])


def plain(text: object) -> str:
    """Return what somebody wrote without what would move the cursor."""
    return "".join(sign if sign.isprintable() else "�" for sign in str(text))


def _as_admin(state: Path, act: Callable[[DeskSession], Awaitable[Any]]) -> Any:
    """Do something at the desk as whoever is signed in here.

    Raises: CommandError.
    """

    async def main() -> Any:
        async with open_client(state, unlocking=unlocking()) as client:
            signed = KeptSignIn(client.store).load(datetime.datetime.now(datetime.UTC))
            async with open_desk_link(client.store) as link, link.open_lane() as lane:
                return await act(DeskSession(lane, signed))

    return _run(main)


def _at_desk(state: Path, act: Callable[[Lane], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with (
            open_client(state, unlocking=unlocking()) as client,
            open_desk_link(client.store) as link,
            link.open_lane() as lane,
        ):
            return await act(lane)

    return _run(main)


def _forget(state: Path) -> None:
    async def main() -> None:
        async with open_client(state, unlocking=unlocking()) as client:
            KeptSignIn(client.store).forget()

    _run(main)


def _run(act: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return run(act)
    except NotSignedInError as error:
        raise CommandError(str(error) or str(NotSignedInError.__doc__), Exit.REFUSED) from error
    except DeskError as error:
        raise CommandError(str(error), _CODES.get(error.status, Exit.FAILED)) from error
