"""helm oidc …"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import API
from pharos.helm.config import WEB_PORT
from pharos.wire.console import CommandError, Exit, print_json, reports_errors


@click.group()
def oidc() -> None:
    """Sign-in by an OpenID provider; helm settings set oidc.issuer and oidc.client_id say which."""


@oidc.command()
@state_option
@json_option
@reports_errors
def show(state: Path, *, as_json: bool) -> None:
    """Show what is set.

    \b
    Example:
      helm oidc show
    """
    found = call(state, "GET", f"{API}/oidc")
    if as_json:
        print_json(found)
        return
    click.echo(f"issuer        {found['issuer'] or 'none'}")
    click.echo(f"client id     {found['client_id'] or 'none'}")
    click.echo(f"secret        {'kept' if found['secret_set'] else 'none'}")
    click.echo(f"groups claim  {found['groups_claim']}")
    click.echo(f"roles         {', '.join(found['roles']) or 'none: nobody comes in'}")
    click.echo(f"users         {'log in by device code' if found['users'] else 'do not log in by it'}")


@oidc.command()
@state_option
@click.option("--web-port", type=int, default=WEB_PORT, show_default=True, help="For the redirect address.")
@json_option
@reports_errors
def test(state: Path, *, web_port: int, as_json: bool) -> None:
    """Ask the provider for its documents, and say what has to be registered there.

    \b
    Example:
      helm oidc test
    """
    found = call(state, "POST", f"{API}/oidc/test")
    back = f"http://localhost:{web_port}{API}/session/oidc/callback"
    if as_json:
        print_json(found | {"redirect_uri": back})
        return
    click.echo(f"{found['issuer']} answers: {found['keys']} keys for signatures")
    click.echo(f"device code   {'yes' if found['device_code'] else 'no'}")
    click.echo(f"register there the redirect address {back}")


@oidc.command()
@state_option
@click.option("--forget", is_flag=True, help="Be a public client, without a secret.")
@reports_errors
def secret(state: Path, *, forget: bool) -> None:
    """Keep the client's secret, read from standard input, wrapped by the data key.

    \b
    Example:
      helm oidc secret < client-secret
    """
    if forget:
        call(state, "DELETE", f"{API}/oidc/secret")
        click.echo("the client secret is forgotten")
        return
    # Never an option: the arguments of a process are everybody's to read. Its line's end is no part of it.
    text: str = (
        click.prompt("Client secret", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline().strip()
    )
    if not text:
        raise CommandError("there is no secret on standard input", Exit.USAGE)
    call(state, "PUT", f"{API}/oidc/secret", {"secret": text})
    click.echo("the client secret is kept")
