"""The agents that have a package, and how their packages differ."""

from __future__ import annotations

from typing import Final

import attrs

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
"""Debian 12 brings the first, Debian 13 the third, Ubuntu 24.04 the second; oldest first."""


@attrs.frozen(kw_only=True)
class Agent:
    """One package: the command of one agent, and what runs it."""

    command: str
    """In /usr/bin; also the name of its package inside ``pharos`` and of its file in /etc/pharos."""
    summary: str
    """At most 80 characters, no article, no full stop (Debian policy 3.4.1)."""
    description: tuple[str, ...]
    """Lines of at most 79 characters."""
    engine: bool = False
    """Whether `ENGINES` come along, each with a unit and a user of its own."""

    @property
    def package(self) -> str:
        """Name of the package, of its unit, its user and its state directory."""
        return f"pharos-{self.command}"

    @property
    def module(self) -> str:
        """Where the command's ``main`` is."""
        return f"pharos.{self.command}.cli"


BUOY: Final = Agent(
    command="buoy",
    summary="VPN node of a Pharos fleet",
    description=(
        "The agent of a node: it serves AmneziaWG tunnels to the clients that the",
        "fleet's controller (helm) names, tells it what it sees, and goes on serving",
        "from its own disk while the controller is away. It dials nobody.",
    ),
    engine=True,
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


@attrs.frozen(kw_only=True)
class Engine:
    """A command that carries traffic, as a process that its agent tells what to be."""

    command: str
    """In /usr/bin; also the name of its user."""
    module: str
    unit: str
    """File of its unit."""
    running: str
    """What systemctl calls all that run of it, for a shell."""


ENGINES: Final = (
    Engine(
        command="pharos-awg",
        module="pharos.wire.awg.process",
        unit="pharos-awg@.service",
        running="'pharos-awg@*.service'",
    ),
    Engine(
        command="pharos-reality",
        module="pharos.wire.reality.process",
        unit="pharos-reality.service",
        running="pharos-reality.service",
    ),
)
AGENTS: Final = (BUOY, BEACON)
