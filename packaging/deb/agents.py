"""The agents that have a package, and how their packages differ."""

from __future__ import annotations

from typing import Final

import attrs

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
"""Debian 12 brings the first, Debian 13 the third, Ubuntu 24.04 the second; oldest first."""


@attrs.frozen(kw_only=True)
class Companion:
    """A command beside an agent's, as a process of its own under units of its own."""

    command: str
    """In /usr/bin."""
    module: str | None
    """Where the command's ``main`` is; None: it is somebody else's, who may or may not be here."""
    units: tuple[str, ...]
    """Files of its units."""
    user: str | None
    """Its own, who has a file of this name for systemd-sysusers; None: root."""
    running: str
    """What systemctl calls all that run of it, for a shell."""
    restarts: bool = False
    """Whether an update ends what runs of it; else it goes on with the old code, for its users' sake."""
    farewell: str | None = None
    """What is run when it is removed, for a shell."""


@attrs.frozen(kw_only=True)
class Agent:
    """One package: the command of one agent, and what runs it."""

    command: str
    """In /usr/bin; also the name of its package inside ``pharos`` and of its file in /etc/pharos."""
    summary: str
    """At most 80 characters, no article, no full stop (Debian policy 3.4.1)."""
    description: tuple[str, ...]
    """Lines of at most 79 characters."""
    companions: tuple[Companion, ...] = ()
    oneshots: tuple[str, ...] = ()
    """Files of units beside its service that run its own command once; an operator enables them."""
    depends: tuple[str, ...] = ()
    """Packages that it calls commands of."""
    traces: tuple[str, ...] = ()
    """Folders that a purge removes beside its own, rather than the next reboot."""

    @property
    def package(self) -> str:
        """Name of the package, of its unit, its user and its state directory."""
        return f"pharos-{self.command}"

    @property
    def module(self) -> str:
        """Where the command's ``main`` is."""
        return f"pharos.{self.command}.cli"


AWG: Final = Companion(
    command="pharos-awg",
    module="pharos.wire.awg.process",
    units=("pharos-awg@.service",),
    user="pharos-awg",
    running="'pharos-awg@*.service'",
)
REALITY: Final = Companion(
    command="pharos-reality",
    module="pharos.wire.reality.process",
    units=("pharos-reality.service",),
    user="pharos-reality",
    running="pharos-reality.service",
)
XRAY: Final = Companion(
    command="xray",
    module=None,
    units=("pharos-xray.service",),
    user="pharos-xray",
    running="pharos-xray.service",
)
HELPER: Final = Companion(
    command="pharos-buoy-helper",
    module="pharos.buoy.roothelper.process",
    units=("pharos-buoy-helper.socket", "pharos-buoy-helper.service"),
    user=None,
    running="pharos-buoy-helper.socket pharos-buoy-helper.service",
    restarts=True,
    farewell="pharos-buoy-helper --undo",
)
BUOY: Final = Agent(
    command="buoy",
    summary="VPN node of a Pharos fleet",
    description=(
        "The agent of a node: it serves AmneziaWG tunnels to the clients that the",
        "fleet's controller (helm) names, tells it what it sees, and goes on serving",
        "from its own disk while the controller is away. It dials nobody.",
    ),
    companions=(AWG, REALITY, XRAY, HELPER),
    oneshots=("pharos-buoy-render.service",),
    depends=("iproute2", "nftables"),
    traces=("/run/pharos-xray", "/run/pharos-buoy-helper"),
)
BEACON: Final = Agent(
    command="beacon",
    summary="relay of a Pharos fleet, the way in for its clients",
    description=(
        "The agent of a relay: clients' sessions to the fleet's controller (helm) pass",
        "through it sealed. It keeps no database, can read nothing of what it forwards,",
        "and carries no VPN engine.",
    ),
)
AGENTS: Final = (BUOY, BEACON)
