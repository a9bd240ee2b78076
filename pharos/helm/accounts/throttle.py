"""How often somebody may try to sign in (security.md row 50): slower with each failure, never locked out. Sans-IO.

A locked account would be a gift to whoever wants an admin kept out; the Unix socket needs no password at all.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from pharos.helm.errors import TooManyTriesError
from pharos.wire.rpc.guard import TokenBucket

# The fourth failure waits 1 s, the tenth a minute: 10,000 tries of one name take a week.
FREE_TRIES: Final = 3
FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 60.0
# All names together. Ten people may mistype at once; six hundred guesses an hour find no password of ten characters.
ALL_BURST: Final = 10
ALL_PER_SECOND: Final = 10 / 60
# Names that somebody has failed with; the oldest is forgotten. Of made-up ones at most twenty a second can be tried,
# for each takes a hash: so one is remembered for longer than the longest delay, thrice. Of 254 characters each: 1 MB.
REMEMBERED: Final = 4096


class Throttle:
    """Counts failures by name; times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._all = TokenBucket(ALL_BURST, ALL_PER_SECOND)

    def check(self, name: str, now: float, *, guessable: bool = True) -> None:
        """Let one try through.

        Where there is nothing to be guessed, for nobody has this name, it counts for nothing among all names together:
        else whoever makes names up would keep everybody out. It is refused whenever another one is, so that nobody
        learns by it which names there are.

        Raises: TooManyTriesError — not yet; it says in how many seconds.
        """
        count, last = self._failures.get(name, (0, 0.0))
        wait = last + _delay(count) - now
        if wait > 0:
            raise TooManyTriesError(wait)
        if not self._all.take(now):
            raise TooManyTriesError(1 / ALL_PER_SECOND)
        if not guessable:
            self._all.put(1)
        if name in self._failures:
            # From now, not from when this one has failed: ten that come at once would all be let through until then.
            self._failures[name] = (count, now)

    def failed(self, name: str, now: float) -> None:
        """Note a failure; the next try of this name waits longer."""
        count, _ = self._failures.pop(name, (0, 0.0))
        self._failures[name] = (count + 1, now)
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """Forget the failures of a name, and give its try back."""
        self._failures.pop(name, None)
        self._all.put(1)


def _delay(failures: int) -> float:
    beyond = failures - FREE_TRIES
    return 0.0 if beyond < 0 else min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(beyond, 16))
