"""The `helm` command: one file per noun."""

from __future__ import annotations

import click

import pharos
from pharos.helm.cli.admins import admins, tokens
from pharos.helm.cli.adoptions import adoptions
from pharos.helm.cli.alerts import alerts, settings
from pharos.helm.cli.audit import audit
from pharos.helm.cli.backup import backup, restore
from pharos.helm.cli.ca import ca
from pharos.helm.cli.devices import devices
from pharos.helm.cli.doctor import doctor
from pharos.helm.cli.export import export
from pharos.helm.cli.imports import import_
from pharos.helm.cli.life import init, run
from pharos.helm.cli.lock import lock
from pharos.helm.cli.nodes import nodes
from pharos.helm.cli.oidc import oidc
from pharos.helm.cli.pools import pools
from pharos.helm.cli.profiles import profiles
from pharos.helm.cli.relays import relays
from pharos.helm.cli.sessions import sessions
from pharos.helm.cli.siem import siem
from pharos.helm.cli.users import groups, users
from pharos.helm.cli.watch import watch
from pharos.wire.console import completion_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pharos.__version__, prog_name="helm")
def main() -> None:
    """Command a Pharos fleet: the controller, which dials out and listens on loopback only.

    \b
    Example:
      helm init --personal      make a fleet
      helm run                  drive it; the admin page is at http://localhost:8440
    """


for command in (
    init,
    run,
    backup,
    restore,
    export,
    import_,
    doctor,
    adoptions,
    nodes,
    relays,
    devices,
    profiles,
    lock,
    pools,
    audit,
    ca,
    users,
    groups,
    admins,
    tokens,
    oidc,
    alerts,
    settings,
    sessions,
    siem,
    watch,
    completion_command("helm"),
):
    main.add_command(command)
