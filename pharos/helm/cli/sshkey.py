"""helm ssh-key."""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.cli.options import json_option, state_option
from pharos.wire.console import print_json, reports_errors
from pharos.wire.files import open_state_directory


@click.command("ssh-key")
@state_option
@json_option
@reports_errors
def ssh_key(state: Path, *, as_json: bool) -> None:
    """Print the public half of helm's own SSH key, a line for authorized_keys; it is made at the first call.

    Your own keys, agent and ssh configuration work without it. helm itself has this one, for onboarding from the page.

    \b
    Example:
      helm ssh-key | ssh root@203.0.113.7 'cat >> ~/.ssh/authorized_keys'
    """
    from pharos.helm.onboard.ssh.keys import SshKeys

    keys = SshKeys.open_keys(open_state_directory(state))
    line = keys.make()
    if as_json:
        print_json({"public_key": line, "private_key_file": str(keys.identity)})
    else:
        click.echo(line)
