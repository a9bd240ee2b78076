"""Whose turn it is to hash: passwords of admins and passphrases of users share one process's memory (row 44)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import trio

from pharos.helm.errors import BusyError
from pharos.wire.world import in_thread

T = TypeVar("T")

# Each takes 64 MiB and a tenth of a second: two at once, eight waiting, and whoever comes then is told so.
AT_ONCE: Final = 2
QUEUE: Final = 8
# Of those who wait, whoever comes through a relay. Anybody on the Internet may, and shall not keep admins out; and who
# has the right passphrase waits for two more turns, not for four.
STRANGERS: Final = 4


class Hashing:
    """The one queue of a helm for what costs as much as Argon2id does."""

    def __init__(self) -> None:
        self._turn = trio.CapacityLimiter(AT_ONCE)
        self._inside = 0
        self._strangers = 0

    def check_room(self, *, stranger: bool = False) -> None:
        """Raises: BusyError — somebody who came now would be turned away."""
        if self._inside >= AT_ONCE + QUEUE or (stranger and self._strangers >= AT_ONCE + STRANGERS):
            raise BusyError("too many people sign in at once; try again in a few seconds")

    async def run(self, work: Callable[[], T], *, stranger: bool = False) -> T:
        """Run ``work`` in a thread, in turn.

        Raises: BusyError — too many wait already.
        """
        self.check_room(stranger=stranger)
        self._inside += 1
        self._strangers += stranger
        try:
            return await in_thread(work, limiter=self._turn)
        finally:
            self._inside -= 1
            self._strangers -= stranger
