"""What can go wrong between helm and a machine that it reaches by SSH.

    OnboardError                     (a HelmError)
    ├── SshMissingError              there is no ssh on this machine
    ├── HostKeyError                 the machine does not prove that it is the one meant (a PeerRejectedError)
    │   └── HostKeyChangedError      it has another host key than the one that was pinned
    ├── LoginRefusedError            it lets nobody in who can be reached from here
    ├── RootRefusedError             it lets us in, and not become root
    ├── ConnectionLostError          it is away: never reached, or cut off (a LinkLostError)
    │   └── CommandTimeoutError      a command there did not end in time
    ├── RemoteCommandError           a command there failed
    │   └── RemoteFullError          for its disk is full
    └── RemoteAnswerError            it answers what no machine in order answers

Text that a machine sent is in these messages only as ``plain`` lets it through.
"""

from __future__ import annotations

from typing import Final

from pharos.helm.errors import HelmError
from pharos.wire.errors import LinkLostError, PeerRejectedError


class OnboardError(HelmError):
    """The machine cannot be brought in."""


class SshMissingError(OnboardError):
    """There is no ssh here; install it: apt install openssh-client."""


class HostKeyError(OnboardError, PeerRejectedError):
    """The machine's host key is not confirmed; compare it with what the machine itself shows."""


class HostKeyChangedError(HostKeyError):
    """The machine has another host key than before; find out why before you go on."""

    def __init__(self, destination: str, *, pinned: str, found: str, remedy: str) -> None:
        super().__init__(
            f"the host key of {destination} has changed: {pinned} was pinned, and the machine that answers has {found}."
            " Somebody may stand between you and it, so nothing was sent. If you know why it changed (the machine was"
            f" installed anew), run: {remedy}"
        )
        self.pinned: Final = pinned
        """Fingerprint, ``SHA256:…``."""
        self.found: Final = found


class LoginRefusedError(OnboardError):
    """The machine does not let this user in; see that ssh itself gets in."""


class RootRefusedError(OnboardError):
    """The user cannot become root there; log in as root, or allow the user to use sudo."""


class ConnectionLostError(OnboardError, LinkLostError):
    """The machine cannot be reached, or the connection broke; the same command goes on where it ended."""


class CommandTimeoutError(ConnectionLostError):
    """A command on the machine took too long; look there, then run the same again."""


class RemoteCommandError(OnboardError):
    """A command failed on the machine."""

    def __init__(self, command: str, returncode: int, stderr: str) -> None:
        super().__init__(f"{command} failed there with {returncode}: {stderr or 'it said nothing'}")
        self.returncode: Final = returncode
        self.stderr: Final = stderr
        """The end of what it said, made plain."""


class RemoteFullError(RemoteCommandError):
    """The machine's disk is full; make room there and run the same again."""

    def __init__(self, command: str, returncode: int, stderr: str) -> None:
        super().__init__(command, returncode, f"its disk is full, make room and run the same again ({stderr})")


class RemoteAnswerError(OnboardError):
    """The machine answers what cannot be understood; look at it by hand."""
