"""Who answers what ssh wants to know: a person at a terminal, one at a page, or nobody."""

from __future__ import annotations

from typing import Final, Protocol

import attrs
import click
import trio

from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh.pins import HostKey
from pharos.wire.world import in_thread

# Questions come one at a time, and one that was given up keeps its thread until somebody presses Enter.
_TERMINAL: Final = trio.CapacityLimiter(8)


class Prompts(Protocol):
    """Somebody to ask. What is asked has been made plain: no sign in it moves a cursor."""

    @property
    def answers(self) -> bool:
        """False: there is nobody, and ssh tries no password and no key that wants one (BatchMode)."""

    async def confirm_host_key(self, destination: Destination, key: HostKey) -> bool:
        """Show the fingerprint of a machine that was never met, and return whether it is the right one.

        Nothing was sent to it yet.
        """

    async def ask(self, question: str, *, hidden: bool) -> str | None:
        """Return the answer to ``root@203.0.113.7's password:`` and the like; None to give up."""

    async def tell(self, text: str) -> None:
        """Show what a person should do now: touch the security key."""


@attrs.frozen
class NobodyToAsk:
    """For programs: only a host key that is pinned or was given beforehand will do, and keys that ask nothing."""

    answers: bool = False

    async def confirm_host_key(self, destination: Destination, key: HostKey) -> bool:
        """Nobody has compared it."""
        return False

    async def ask(self, question: str, *, hidden: bool) -> str | None:
        """Nobody knows."""
        return None

    async def tell(self, text: str) -> None:
        """Nobody listens."""


@attrs.frozen
class TerminalPrompts:
    """For a person at the terminal that this command runs in."""

    answers: bool = True

    async def confirm_host_key(self, destination: Destination, key: HostKey) -> bool:
        """Ask for a plain yes; Enter alone is none."""
        click.echo(
            f"{destination} was never met. Its host key ({key.kind}) has the fingerprint\n  {key.fingerprint}\n"
            "The machine shows its own with: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
            err=True,
        )
        answer = await self.ask("Is it the same? [yes/no]", hidden=False)
        return answer is not None and answer.strip().lower() in ("yes", "y")

    async def ask(self, question: str, *, hidden: bool) -> str | None:
        """Ask on standard error, so that a pipe on standard output gets none of it."""

        def ask() -> str | None:
            try:
                return str(
                    click.prompt(
                        question.rstrip(" :"),
                        hide_input=hidden,
                        err=True,
                        default="",
                        show_default=False,
                        prompt_suffix=": ",
                    )
                )
            except click.Abort:
                return None

        return await in_thread(ask, abandon_on_cancel=True, limiter=_TERMINAL)

    async def tell(self, text: str) -> None:
        """Print it."""
        click.echo(text, err=True)
