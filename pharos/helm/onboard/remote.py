"""A machine that is being brought into the fleet, as helm's own hand reaches it: commands, a file, and facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import attrs

from pharos.helm.errors import InvalidRequestError

# What ssh takes as a name of its configuration, a host name or an address; nothing that it could take for an option.
_DESTINATION: Final = re.compile(
    r"(?:(?P<user>[a-z_][a-z0-9_.-]{0,31})@)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?",
)
MAX_PORT: Final = 65535
COMMAND_TIMEOUT: Final = 60.0
"""Seconds that a command may take unless its caller knows that it takes longer."""

Progress = Callable[[int, int], None]
"""Told of bytes sent, and bytes in all."""


@attrs.frozen(kw_only=True)
class Destination:
    """Whom ssh dials."""

    host: str
    """Host name, address (IPv6 without brackets), or a name of the operator's ssh configuration."""
    user: str | None = None
    """None: whom ssh's configuration names."""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Read ``[user@]host[:port]``, an IPv6 address in brackets. Raises: InvalidRequestError."""
        match = _DESTINATION.fullmatch(text)
        port = int(match["port"]) if match and match["port"] else None
        if match is None or port == 0 or (port or 0) > MAX_PORT:
            raise InvalidRequestError(f"{text!r} is not [user@]host[:port]")
        return cls(host=match["host"].strip("[]"), user=match["user"], port=port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}"


@attrs.frozen(kw_only=True)
class Facts:
    """What was found on a machine."""

    distribution: str
    """ID of os-release(5): ``debian``, ``ubuntu``."""
    release: str
    """VERSION_ID of os-release(5): ``12``, ``24.04``."""
    arch: str
    """As dpkg says it: ``amd64``."""
    python: str | None
    """Version of /usr/bin/python3, None where there is none yet."""
    root: str
    """How root is got: ``root`` (is it already), ``sudo`` (without a password), ``password`` (sudo wants one)."""
    free: Mapping[str, int]
    """Bytes free below /usr, /var and /tmp, by path."""
    taken: Mapping[str, str]
    """Who listens: process by ``tcp/443``, ``udp/443``; empty where it is the kernel itself, as for its tunnels."""
    packages: Mapping[str, tuple[str, str]]
    """Version and dpkg's state by package, of those named ``pharos-*``: ``("0.1.0", "installed")``."""
    apt_lock: str = ""
    """Who held a lock of apt or dpkg when it was asked, ``apt-get (process 812)``; empty: nobody."""


class Remote(Protocol):
    """A machine that answers."""

    @property
    def destination(self) -> Destination: ...

    @property
    def host_key(self) -> str:
        """Its fingerprint as ssh shows it: ``SHA256:…``."""

    @property
    def facts(self) -> Facts: ...

    async def run(self, *argv: str, stdin: bytes = b"", root: bool = False, timeout: float = COMMAND_TIMEOUT) -> bytes:
        """Run a command to its end, of which each word arrives as it is, and return what it printed.

        Raises: RemoteCommandError — it ended with another code than 0. ConnectionLostError — the machine is away.
        """

    async def upload(self, source: Path, target: str, progress: Progress) -> None:
        """Write a file there, under another name until it is whole. Raises: as ``run``."""
