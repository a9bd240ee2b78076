"""Which site a node's REALITY stands before: the fleet's list of them, and whose turn it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import attrs

from pharos.wire.reality.params import check_server_names, split_target

# Each node has one, and a list is for a fleet that shall not look alike.
MAX_TARGETS: Final = 32
# TLS 1.3 with X25519, HTTP/2, a certificate of its own name, and hosts on every continent; one near the node is better.
PRESET: Final = "addons.mozilla.org:443"
PRESETS: Final = (PRESET, "dl.google.com:443", "www.microsoft.com:443", "gateway.icloud.com:443")


@attrs.frozen(kw_only=True)
class Target:
    """A site, and the names by which a hello may ask for it."""

    place: str
    """``host:port``."""
    server_names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``host:port`` with names behind it, if others than the host's own are asked for.

        Raises: ParameterError — it is none.
        """
        place, *names = text.split(" ")
        return cls.of(place, names)

    @classmethod
    def of(cls, place: str, server_names: Sequence[str] = ()) -> Self:
        """Check a place and its names; without any, it has the host's own.

        Raises: ParameterError — it is no target.
        """
        host, _ = split_target(place)
        return cls(place=place, server_names=check_server_names(tuple(server_names) or (host,)))


def turn_of(targets: Sequence[str], number: int) -> Target:
    """Return the target of the node that is the ``number``-th to come."""
    return Target.parse(targets[number % len(targets)])


def follows(targets: Sequence[str], current: Target) -> Target:
    """Return the target after the current one in the list; one that is not in the list was given by hand and stays."""
    parsed = [Target.parse(text) for text in targets]
    return parsed[(parsed.index(current) + 1) % len(parsed)] if current in parsed else current
