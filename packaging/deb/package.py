"""What a package of ours is: its commands, what runs them, and what it brings along."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

import attrs

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
"""Debian 12 brings the first, Debian 13 the third, Ubuntu 24.04 the second; oldest first."""


@attrs.frozen(kw_only=True)
class Companion:
    """A command beside a daemon's, as a process of its own under units of its own."""

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
class Package:
    """One package: a command, and what runs it."""

    command: str
    """In /usr/bin; also the name of its package inside ``pharos`` and of its file in /etc/pharos."""
    summary: str
    """At most 80 characters, no article, no full stop (Debian policy 3.4.1)."""
    description: tuple[str, ...]
    """Lines of at most 79 characters."""
    daemon: bool = True
    """Whether it runs as a service: then it has a unit, a user, a state directory and a file of settings."""
    further: tuple[tuple[str, str], ...] = ()
    """More commands in /usr/bin, each with the module where its ``main`` is."""
    whole: tuple[PurePosixPath, ...] = ()
    """Folders of sources that go in whole, because their commands are imported by names that are computed."""
    lock: str = "agent"
    """Which file of ``requirements`` pins its libraries."""
    left_out: frozenset[str] = frozenset()
    """Distributions of that file that nothing of it runs."""
    does_without: frozenset[str] = frozenset()
    """Modules that it imports when somebody first needs them, and says so where they are not."""
    environment: tuple[tuple[str, str], ...] = ()
    """What its commands find in their environment, unless the caller says otherwise."""
    companions: tuple[Companion, ...] = ()
    oneshots: tuple[str, ...] = ()
    """Files of units beside its service that run its own command once; an operator enables them."""
    depends: tuple[str, ...] = ()
    """Packages that it calls commands of."""
    recommends: tuple[str, ...] = ()
    suggests: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    """Folders that a purge removes beside its own, rather than the next reboot."""
    carries_page: bool = False
    """Whether the built admin page is in it."""
    carries_agents: bool = False
    """Whether the agents' packages are in it, of every architecture."""

    @property
    def package(self) -> str:
        """Name of the package, of its unit, its user and its state directory."""
        return f"pharos-{self.command}"

    @property
    def module(self) -> str:
        """Where the command's ``main`` is."""
        return f"pharos.{self.command}.cli"

    @property
    def commands(self) -> tuple[tuple[str, str], ...]:
        """All that are in /usr/bin, each with its module."""
        companions = tuple((one.command, one.module) for one in self.companions if one.module is not None)
        return ((self.command, self.module), *self.further, *companions)
