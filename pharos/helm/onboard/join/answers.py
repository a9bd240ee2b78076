"""What ssh asks while helm itself brings a machine in, and somebody at a page answers. An answer is kept nowhere."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

import attrs
import trio

from pharos.helm.errors import ConflictError
from pharos.helm.onboard.join.engine import OpenRemote
from pharos.helm.onboard.join.events import Asked, Emit
from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh import SshKeys, open_remote
from pharos.helm.onboard.ssh.pins import HostKey
from pharos.wire.units import MINUTES

# Somebody goes to the provider's console to compare a fingerprint.
PATIENCE: Final = 10 * MINUTES
HOST_KEY: Final = "host_key"
PASSWORD: Final = "password"  # noqa: S105 -- what is asked for, and none


@attrs.define(eq=False)
class Question:
    """The one that is open, if any."""

    what: str = ""
    """``host_key`` or ``password``; empty: none is open."""
    shown: str = ""
    _answer: str | None = attrs.field(default=None, repr=False)
    _answered: trio.Event = attrs.field(factory=trio.Event)

    async def ask(self, what: str, shown: str, emit: Emit) -> str | None:
        """Return the answer; None where nobody gave one in time."""
        self.what, self.shown, self._answer, self._answered = what, shown, None, trio.Event()
        emit(Asked(what=what, says=shown))
        with trio.move_on_after(PATIENCE):
            await self._answered.wait()
        answer, self._answer, self.what, self.shown = self._answer, None, "", ""
        return answer

    def answer(self, what: str, answer: str, *, shown: str | None = None) -> None:
        """Answer the question that is open.

        Raises: ConflictError — another one is, or none; or what was shown is another thing than what is answered.
        """
        if self.what != what or self._answered.is_set():
            raise ConflictError("nothing of that kind is asked now")
        if shown is not None and shown != self.shown:
            raise ConflictError(f"the machine shows {self.shown}")
        self._answer = answer
        self._answered.set()


@attrs.frozen
class PagePrompts:
    """Somebody at a page."""

    question: Question
    emit: Emit
    answers: bool = True

    async def confirm_host_key(self, destination: Destination, key: HostKey) -> bool:
        """See `Prompts`."""
        return await self.question.ask(HOST_KEY, key.fingerprint, self.emit) == "yes"

    async def ask(self, question: str, *, hidden: bool) -> str | None:
        """See `Prompts`."""
        return await self.question.ask(PASSWORD, question, self.emit)

    async def tell(self, text: str) -> None:
        """A security key is in somebody's machine, and helm's own key asks for none."""


def open_by_page(state: Path, destination: Destination, question: Question, emit: Emit) -> OpenRemote:
    """Return what connects."""
    keys = SshKeys.open_keys(state)
    return functools.partial(open_remote, destination, keys=keys, prompts=PagePrompts(question, emit))
