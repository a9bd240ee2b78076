"""How a command there becomes root's: it is already, sudo takes us, or sudo wants a password on standard input."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs

from pharos.helm.onboard.errors import RemoteAnswerError, RootRefusedError
from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh.plain import plain
from pharos.helm.onboard.ssh.process import Ended
from pharos.helm.onboard.ssh.prompts import Prompts
from pharos.helm.onboard.ssh.words import ENVIRONMENT

ROOT: Final = "root"
SUDO: Final = "sudo"
PASSWORD: Final = "password"  # noqa: S105 -- a word of ours
NONE: Final = "none"
TRIES: Final = 2
"""One for a slip of the finger; sudo tells root of each."""
_NEVER: Final = re.compile(r"not in the sudoers|not allowed to|may not run|must have a tty|unknown user")

Call = Callable[[Sequence[str], bytes], Awaitable[Ended]]
"""Runs words there, with a standard input, as who logged in."""


@attrs.frozen
class RootWay:
    """One of the three, with the password for as long as the connection lasts."""

    kind: str
    password: str = attrs.field(default="", repr=False)

    def words(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs ``argv`` as root."""
        if self.kind == ROOT:
            return list(argv)
        # With -k sudo asks each time: a password that it does not read would become the command's input.
        options = ("-n",) if self.kind == SUDO else ("-k", "-S", "-p", "")
        # A shape for all, so that a rule of sudoers fits all of them or none.
        return ["sudo", *options, "--", "env", *ENVIRONMENT, *argv]

    def stdin(self, data: bytes) -> bytes:
        """Return what the command is given."""
        return f"{self.password}\n".encode(errors="surrogateescape") + data if self.kind == PASSWORD else data


async def find_root_way(kind: str, call: Call, destination: Destination, prompts: Prompts) -> RootWay:
    """Return how root is got, with the password if it takes one; ``kind`` is what the probe found.

    Raises: RootRefusedError — it is not to be had. RemoteAnswerError — that is none of its kinds. What ``call`` raises.
    """
    if kind in (ROOT, SUDO):
        return RootWay(kind)
    if kind == NONE:
        raise RootRefusedError(f"{destination} is neither root nor has sudo; log in as root, or install sudo there")
    if kind != PASSWORD:
        raise RemoteAnswerError(f"{destination} answers what no Debian or Ubuntu answers; see what runs there")
    if not prompts.answers:
        raise RootRefusedError(f"sudo wants a password on {destination}, and there is nobody here to ask for it")
    said = ""
    for again in range(TRIES):
        question = f"{'That was not it. ' if again else ''}Password that sudo wants on {destination}:"
        password = await prompts.ask(question, hidden=True)
        if password is None or "\n" in password:
            raise RootRefusedError(f"nobody gave the password that sudo wants on {destination}")
        way = RootWay(PASSWORD, password)
        tried = await call(way.words(("true",)), way.stdin(b""))
        if tried.returncode == 0:
            return way
        said = plain(tried.stderr)
        if _NEVER.search(said):
            raise RootRefusedError(f"sudo does not take this user on {destination}: {said}")
    raise RootRefusedError(f"sudo did not take the password on {destination}; nothing was changed there ({said})")
