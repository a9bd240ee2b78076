"""Whose device this is decides which commands there are: an organisation's hides some, a person's the admin section."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

from pharos.caravel.config import DEFAULT_STATE
from pharos.caravel.errors import ManagedError
from pharos.caravel.managed import Managed
from pharos.caravel.managedfile import MANAGED_FILE, read_managed
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.given import is_given
from pharos.wire.console import CommandError, Exit
from pharos.wire.errors import ConfigError, WireError

ROOT: Final = 0
"""Whose file it has to be."""

_ALLOWED: Final[dict[str, Callable[[Managed], bool]]] = {
    "login": lambda managed: managed.allows("login"),
    "enroll": lambda managed: managed.allows("ticket"),
    "import": lambda managed: bool(managed.sources),
    "open": lambda managed: bool(managed.sources),
    "export": lambda managed: not managed.lock_profiles,
    "admin": lambda managed: managed.admin,
}
"""Commands that an organisation may not want; the others are there on every device."""


def managed_device() -> Managed | None:
    """Return what an organisation decides for this device; None: it is a person's.

    Raises: CommandError — its file cannot be trusted or read, and then nothing is done.
    """
    try:
        return read_managed(MANAGED_FILE, owner=ROOT)
    except ConfigError as error:
        raise CommandError(f"{error}. Until then this device does nothing") from error


def refuse_if_locked(what: str) -> None:
    """Raises: CommandError — an organisation has locked the profiles, and ``what`` is not its user's to do."""
    managed = managed_device()
    if managed is not None:
        try:
            managed.check_unlocked(what)
        except ManagedError as error:
            raise CommandError(str(error), Exit.REFUSED) from error


class PostureGroup(click.Group):
    """`caravel`, with the commands that there are on this device."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; one that the organisation does not allow refuses whatever it is asked."""
        found = super().get_command(ctx, cmd_name)
        allowed = _ALLOWED.get(cmd_name)
        if found is None or allowed is None:
            return found
        managed = managed_device()
        return found if managed is None or allowed(managed) else _refusing(cmd_name, managed)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands that there are here, each in one line."""
        shown = [name for name in self.list_commands(ctx) if self._is_shown(name)]
        limit = formatter.width - 6 - max(map(len, shown))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str(limit)) for name in shown])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Propose what is listed."""
        return [one for one in super().shell_complete(ctx, incomplete) if self._is_shown(one.value)]

    def _is_shown(self, name: str) -> bool:
        if name not in _ALLOWED:
            return True
        try:
            managed = managed_device()
        except CommandError:
            return False
        if managed is not None:
            return _ALLOWED[name](managed)
        return name != "admin" or is_admins(DEFAULT_STATE)


def is_admins(state: Path) -> bool:
    """Whether some fleet has given this device to an admin, as helm said at the last sync; asks nobody."""
    if not state.is_dir():
        return False
    try:
        return any(fleet.joined and is_given(fleet.path) for fleet in Fleets(state).list())
    except (WireError, OSError):
        return False


def _refusing(name: str, managed: Managed) -> click.Command:
    @click.command(
        name,
        help=f"Not on this device: {managed.organisation} manages it.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def refuse() -> None:
        raise CommandError(str(ManagedError(managed.organisation, f"use: caravel {name}")), Exit.REFUSED)

    return refuse
