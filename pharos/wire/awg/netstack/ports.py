"""Ephemeral ports, drawn so that nobody can guess them (RFC 6056 §3.3.1)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final

from pharos.wire.awg.randomness import Random, uniform

FIRST, LAST = 32768, 60999
"""Linux's, so that nobody is known by them."""
_TRIES: Final = 64
"""Before all are looked at in turn."""


def draw_port(random: Random, is_taken: Callable[[int], bool]) -> int:
    """Return a port that is free.

    Raises: OSError (EADDRNOTAVAIL) — none is.
    """
    port = FIRST
    for _ in range(_TRIES):
        port = uniform(random, FIRST, LAST)
        if not is_taken(port):
            return port
    span = LAST - FIRST + 1
    for step in range(span):
        candidate = FIRST + (port - FIRST + step) % span
        if not is_taken(candidate):
            return candidate
    raise OSError(errno.EADDRNOTAVAIL, "no local port is free")
