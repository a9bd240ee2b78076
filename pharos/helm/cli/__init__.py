"""The `helm` command: one file per noun."""

from __future__ import annotations

from typing import Final

import click

import pharos
from pharos.wire.console import completion_command
from pharos.wire.lazygroup import LazyGroup

# A noun is imported when it is asked for: together they take more than a second.
COMMANDS: Final = {
    "init": ("life:init", "Make a fleet: its certificate authority, helm's own keys, and the recovery kit."),
    "run": ("life:run", "Drive the fleet until stopped; tunnels go on without helm."),
    "backup": ("backup:backup", "Write a backup: one file, encrypted, that the recovery kit opens on any machine."),
    "restore": (
        "backup:restore",
        "Make a helm of a backup, in an empty state directory; the recovery kit is asked for.",
    ),
    "revert": (
        "revert:revert",
        "Put the databases back to how they were before a newer helm changed them, so that this one can run.",
    ),
    "export": (
        "export:export",
        (
            "Write the record as YAML, without its secrets: a file a noun in a folder, or one FILE.yaml; - is standard"
            " output."
        ),
    ),
    "import": ("imports:import_", "Bring lists from elsewhere into the record."),
    "doctor": ("doctor:doctor", "Look at everything that can be wrong, and say what to do about it."),
    "adoptions": ("adoptions:adoptions", "Devices that nodes serve and a restored record does not know."),
    "nodes": ("nodes:nodes", "The VPN nodes of the fleet (buoys)."),
    "relays": ("relays:relays", "The relays of the fleet (beacons): the way in for clients."),
    "ssh-key": (
        "sshkey:ssh_key",
        "Print the public half of helm's own SSH key, a line for authorized_keys; it is made at the first call.",
    ),
    "devices": ("devices:devices", "The devices of your users."),
    "profiles": (
        "profiles:profiles",
        "The sealed profiles of the devices; what is in them helm itself cannot read.",
    ),
    "lock": (
        "lock:lock",
        "The fleet lock: a key on paper that says which nodes there are, so that helm alone cannot add one.",
    ),
    "pools": ("pools:pools", "The address pools: where devices' addresses inside the tunnel come from."),
    "audit": ("audit:audit", "What was done, by whom, and the proof that nobody altered it."),
    "ca": ("ca:ca", "The fleet's certificate authority: its ends, its rotation, and what opens its keys."),
    "users": ("users:users", "The people whose devices use the fleet."),
    "groups": ("users:groups", "Who may use which nodes, by which protocols."),
    "admins": ("admins:admins", "Who may act on the fleet with a browser."),
    "tokens": ("admins:tokens", "API tokens, for programs."),
    "oidc": (
        "oidc:oidc",
        "Sign-in by an OpenID provider; helm settings set oidc.issuer and oidc.client_id say which.",
    ),
    "alerts": ("alerts:alerts", "What somebody should look at, and who is told."),
    "settings": ("alerts:settings", "What holds for the whole fleet."),
    "sessions": ("sessions:sessions", "Which device was connected to which node, and when."),
    "siem": ("siem:siem", "Where events and the audit are sent: your own log system."),
    "watch": ("watch:watch", "Follow what happens, as every open page does, until Ctrl-C."),
}
"""A command's name, its module below this package and the attribute there, and the first sentence of its help."""


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    where={name: (f"{__name__}.{place}", sentence) for name, (place, sentence) in COMMANDS.items()},
)
@click.version_option(pharos.__version__, prog_name="helm")
def main() -> None:
    """Command a Pharos fleet: the controller, which dials out and listens on loopback only.

    \b
    Example:
      helm init --personal      make a fleet
      helm run                  drive it; the admin page is at http://localhost:8440
    """


main.add_command(completion_command("helm"))
