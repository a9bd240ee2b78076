"""The words that ssh and the machine's shell are given: built here, run elsewhere."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import attrs

from pharos.helm.onboard.remote import Destination
from pharos.wire.errors import LocalProtocolError

SSH: Final = ("ssh",)
"""The system's; a test adds ``-F`` so that ``~/.ssh`` of who runs it plays no part."""
CONNECT_TIMEOUT: Final = 20
"""Seconds to the first answer: three tries of TCP's SYN, at 0, 1, 3 and 7 s, and what comes after."""
ALIVE_INTERVAL: Final = 5
ALIVE_COUNT: Final = 3
"""A connection on which nothing has come for 15 s is taken for cut."""
READY: Final = "pharos-connected"
"""What the master prints once it takes commands."""
BEHIND: Final = "pharos"
"""What ssh is given for a host where it goes through the master, which alone knows whom it has called."""
KEY_MARK: Final = "pharos-host-key"
"""Before a host key that ssh has met."""

# Words of these signs mean the same to any shell that somebody may log in to.
_HARMLESS: Final = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
# sshd gives a user who is not root a PATH without sbin, where half of what is needed lives.
ENVIRONMENT: Final = ("LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


@attrs.frozen(kw_only=True)
class Resolved:
    """What the operator's configuration makes of a destination: ``ssh -G``."""

    name: str
    """Under which ssh looks for the host key: ``203.0.113.7``, ``[203.0.113.7]:2222`` or a HostKeyAlias."""
    algorithms: tuple[str, ...]
    """Of host keys, best first, certificates left out: helm pins a key, and knows no authority for hosts."""
    identities: tuple[str, ...]
    """Key files that ssh would try."""

    @classmethod
    def read(cls, printed: bytes) -> Self:
        """Read what ``ssh -G`` prints."""
        values: dict[str, list[str]] = {}
        for line in printed.decode(errors="surrogateescape").splitlines():
            keyword, _, value = line.partition(" ")
            values.setdefault(keyword, []).append(value)
        host, port = values["hostname"][0].lower(), values["port"][0]
        alias = values.get("hostkeyalias", ["none"])[0]
        named = host if port == "22" else f"[{host}]:{port}"
        return cls(
            name=named if alias == "none" else alias.lower(),
            algorithms=tuple(
                each for each in values.get("hostkeyalgorithms", [""])[0].split(",") if each and "-cert-" not in each
            ),
            identities=tuple(each for each in values.get("identityfile", []) if each != "none"),
        )


def resolve_words(program: Sequence[str], destination: Destination) -> list[str]:
    """Return the command that tells what the configuration makes of a destination."""
    return [*program, "-G", *_dialled(destination)]


def scan_words(program: Sequence[str], destination: Destination, algorithms: Iterable[str]) -> list[str]:
    """Return the command that fetches a host key and goes before it has said who it is.

    No key is known to it, so that it ends with the key exchange (RFC 4253 §8).
    """
    options = {
        **_common(algorithms),
        "UserKnownHostsFile": "none",
        # It is asked before anything is trusted, knows none, and so shows which it was asked for.
        "KnownHostsCommand": f"/bin/sh -c 'echo {KEY_MARK} %I %t %K >&2'",
        "BatchMode": "yes",
        "PreferredAuthentications": "none",
    }
    return [*program, "-N", *_as_options(options), *_dialled(destination)]


@attrs.frozen(kw_only=True)
class Runtime:
    """Files in a private directory, whose path has no sign that ssh's configuration would take for its own."""

    folder: Path

    @property
    def control(self) -> Path:
        """The master's socket."""
        return self.folder / "control"

    @property
    def known_hosts(self) -> Path:
        """A link to helm's own."""
        return self.folder / "known_hosts"

    @property
    def identity(self) -> Path:
        """A link to helm's own SSH key."""
        return self.folder / "identity"

    @property
    def askpass(self) -> Path:
        """The program that ssh starts to ask something."""
        return self.folder / "askpass"

    @property
    def questions(self) -> Path:
        """The socket that it asks at."""
        return self.folder / "questions"


def master_words(
    program: Sequence[str], destination: Destination, resolved: Resolved, runtime: Runtime, *, own_key: bool, asks: bool
) -> list[str]:
    """Return the command that logs in and then carries the others."""
    options = {
        **_common(resolved.algorithms),
        "UserKnownHostsFile": str(runtime.known_hosts),
        "KnownHostsCommand": "none",
        "BatchMode": "no" if asks else "yes",
        "ControlMaster": "yes",
        "ControlPath": str(runtime.control),
        "ControlPersist": "no",
        "PermitLocalCommand": "yes",
        # After the socket is there, and before anything else happens.
        "LocalCommand": f"echo {READY}",
        "RequestTTY": "no",
        "RemoteCommand": "none",
    }
    words = [*program, "-N", *_as_options(options)]
    if own_key:
        # One that is named keeps ssh from trying those that it would take by itself, so these are named as well.
        files = [*resolved.identities, str(runtime.identity)]
        words += [word for each in files for word in ("-o", f'IdentityFile="{each}"')]
    return [*words, *_dialled(destination)]


def through_words(program: Sequence[str], runtime: Runtime, *command: str) -> list[str]:
    """Return the command that runs another by way of the master, and never by a connection of its own."""
    alone = ("-F", "none", "-o", f"ControlPath={runtime.control}", "-o", "ControlMaster=no", "-o", "BatchMode=yes")
    # Without a master it would dial: this is what it dials with.
    return [*program, *alone, "-o", "ProxyCommand=/bin/false", "-o", "LogLevel=ERROR", "-T", *command]


def guard_words(program: Sequence[str], runtime: Runtime) -> list[str]:
    """Return the command that ends the master, and clears up, once its own input ends: with us, though we be killed."""
    script = 'read -r _; folder=$1; shift; "$@"; rm -rf -- "$folder"'
    leave = through_words(program, runtime, "-O", "exit", "--", BEHIND)
    return ["sh", "-c", script, "sh", str(runtime.folder), *leave]


def remote_command(argv: Sequence[str]) -> str:
    """Return one line for the shell that somebody logs in to, such that the command gets each word as it is.

    That shell may be fish or csh, which quote otherwise: it sees harmless signs alone, and sh reads the rest.

    Raises: LocalProtocolError — no command, or a word with a NUL.
    """
    words = ["env", *ENVIRONMENT, *argv]
    if not argv or any("\0" in word for word in argv):
        raise LocalProtocolError("a command is one word or more, and none has a NUL")
    if all(_HARMLESS.fullmatch(word) for word in words):
        return " ".join(words)
    octal = "".join(f"\\0{byte:03o}" for byte in os.fsencode(shlex.join(words)))
    return f"exec /bin/sh -c 'eval \"$(printf %b \"$0\")\"' '{octal}'"


def preferring(algorithms: Sequence[str], kinds: Iterable[str]) -> list[str]:
    """Return the algorithms of host keys with those of known keys first: ssh-rsa signs as rsa-sha2-256, RFC 8332."""
    wanted = set(kinds)
    if "ssh-rsa" in wanted:
        wanted |= {"rsa-sha2-512", "rsa-sha2-256"}
    return sorted(algorithms, key=lambda name: name not in wanted)


def _common(algorithms: Iterable[str]) -> Mapping[str, str]:
    return {
        **({"HostKeyAlgorithms": listed} if (listed := ",".join(algorithms)) else {}),
        # Helm's own book of host keys, and nobody else's word.
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "HashKnownHosts": "no",
        "UpdateHostKeys": "no",
        "VerifyHostKeyDNS": "no",
        "CheckHostIP": "no",
        "NoHostAuthenticationForLocalhost": "no",
        "ConnectTimeout": str(CONNECT_TIMEOUT),
        "ServerAliveInterval": str(ALIVE_INTERVAL),
        "ServerAliveCountMax": str(ALIVE_COUNT),
        # The machine gets nothing of ours but what helm sends: neither the agent nor a way back.
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "yes",
        "Tunnel": "no",
        "EscapeChar": "none",
        # Its banner is a stranger's; what fails is still said.
        "LogLevel": "ERROR",
    }


def _as_options(options: Mapping[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _dialled(destination: Destination) -> list[str]:
    user = ["-l", destination.user] if destination.user else []
    port = ["-p", str(destination.port)] if destination.port else []
    return [*user, *port, "--", destination.host]
