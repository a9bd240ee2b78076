"""Several ways to one peer: addresses and ranges of UDP ports, tried in turn when the one in use falls silent.

A censor who blocks one address and port costs a client one look, and a port range is as many addresses again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from pharos.wire.awg.endpoint import Address, check_address
from pharos.wire.awg.events import PeerStatus
from pharos.wire.awg.randomness import Random, uniform
from pharos.wire.errors import ParameterError
from pharos.wire.units import SECONDS

LOOK_EVERY: Final = 7.5 * SECONDS
"""Between two looks at a peer."""
SILENT_LOOKS: Final = 2
"""In a row. A peer that only takes answers after 10 s, and an initiation is repeated after 5 s: each way has three
chances on a line that loses packets."""


@attrs.frozen(kw_only=True)
class Way:
    """An address of the peer, and the UDP ports it can be reached on there, first and last.

    Raises: ParameterError — the host is a name, or the ports are none.
    """

    host: str
    first_port: int
    last_port: int

    def __attrs_post_init__(self) -> None:
        check_address((self.host, self.first_port))
        check_address((self.host, self.last_port))
        if self.first_port > self.last_port:
            raise ParameterError(f"endpoint ports = {self.first_port}-{self.last_port}: the first is above the last")


def endpoints(ways: Sequence[Way], random: Random) -> Iterator[Address]:
    """Yield endpoints without end: the ways in turn, each time at a port chosen anew.

    Raises: ParameterError — there is no way.
    """
    if not ways:
        raise ParameterError("endpoint pool: must hold an address")
    for way in itertools.cycle(ways):
        yield way.host, uniform(random, way.first_port, way.last_port)


class Silence:
    """Tells from looks at a peer, one every ``LOOK_EVERY``, whether what we send goes unanswered."""

    def __init__(self, status: PeerStatus) -> None:
        self._last = status
        self._silent = 0

    def look(self, status: PeerStatus) -> bool:
        """Whether something was sent before each of the last looks, and nothing authentic came; then it begins anew."""
        last, self._last = self._last, status
        vain = status.sent_bytes > last.sent_bytes and status.received_bytes == last.received_bytes
        self._silent = self._silent + 1 if vain else 0
        if self._silent < SILENT_LOOKS:
            return False
        self._silent = 0
        return True
