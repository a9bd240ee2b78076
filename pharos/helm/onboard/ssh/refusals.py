"""What ssh says when it fails, as an error of ours."""

from __future__ import annotations

import re
from typing import Final

from pharos.helm.onboard.errors import ConnectionLostError, HostKeyError, LoginRefusedError, OnboardError
from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh.plain import plain

_REFUSED: Final = re.compile(r"Permission denied \((?P<ways>[^)]*)\)|Too many authentication failures")
_UNKNOWN: Final = re.compile(r"Host key verification failed|host key is known for|HOST IDENTIFICATION HAS CHANGED")


def explain(destination: Destination, said: bytes) -> OnboardError:
    """Return the error for the last words of an ssh that did not get in."""
    text = plain(said)
    # The last that counts: on the way through a jump host, the first may be about that one.
    if refused := list(_REFUSED.finditer(text)):
        ways = refused[-1]["ways"]
        return LoginRefusedError(
            f"{destination} lets nobody in whom this ssh can be"
            + (f" (it takes: {ways})" if ways else " (it was offered too many keys: name one in ~/.ssh/config)")
            + f"; see that this works: ssh {_spelt(destination)}"
        )
    if _UNKNOWN.search(text):
        return HostKeyError(
            f"a host on the way to {destination} has a host key that your own known_hosts does not confirm; see that"
            f" this works: ssh {_spelt(destination)} ({text})"
        )
    return ConnectionLostError(f"{destination} cannot be reached by ssh: {text or 'it said nothing'}")


def _spelt(destination: Destination) -> str:
    user = f"{destination.user}@" if destination.user else ""
    return f"{f'-p {destination.port} ' if destination.port else ''}{user}{destination.host}"
