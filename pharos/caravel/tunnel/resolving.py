"""Where the names of nodes lead, asked outside the tunnel, and remembered for when nobody can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from pharos.caravel.errors import NoAnswerError
from pharos.wire.tcpdial import Resolve, is_numeric, resolve_by_system
from pharos.wire.units import SECONDS

PATIENCE: Final = 3 * SECONDS
"""For the system's resolver, where an address is remembered that could be used instead."""
MAX_ADDRESSES: Final = 4
"""Of a name: each is a way to try, and each costs a look."""
MAX_NAMES: Final = 256


class Resolver:
    """Resolves by another resolver, and by what that one said last where it says nothing now."""

    def __init__(self, resolve: Resolve = resolve_by_system) -> None:
        self._resolve = resolve
        self._known: dict[str, tuple[str, ...]] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        """Raises: OSError."""
        if is_numeric(host):
            return [host]
        known = self._known.get(host)
        try:
            with trio.fail_after(PATIENCE if known else 10 * PATIENCE):
                found = tuple(dict.fromkeys(await self._resolve(host)))[:MAX_ADDRESSES]
        except (OSError, trio.TooSlowError) as error:
            if known:
                return known
            if isinstance(error, OSError):
                raise
            raise OSError(f"{host}: the resolver does not answer") from error
        self._known.pop(host, None)
        while len(self._known) >= MAX_NAMES:
            self._known.pop(next(iter(self._known)))
        self._known[host] = found
        return found


async def resolve_all(hosts: Sequence[str], resolve: Resolve) -> dict[str, Sequence[str]]:
    """Resolve each of them, at once, and leave out what does not resolve.

    Raises: NoAnswerError — none does.
    """
    found: dict[str, Sequence[str]] = {}
    failures: dict[str, OSError] = {}

    async def ask(host: str) -> None:
        try:
            found[host] = await resolve(host)
        except OSError as error:
            failures[host] = error

    async with trio.open_nursery() as nursery:
        for host in dict.fromkeys(hosts):
            nursery.start_soon(ask, host)
    if not found:
        host, failure = next(iter(failures.items()))
        raise NoAnswerError(f"{host} does not resolve: {failure}") from failure
    return found
