"""Which transport counters of one session have been received (RFC 6479)."""

from typing import Final

_WORD_BITS: Final = 64
_WORDS: Final = 128
# One word of the ring is always in part ahead of the newest counter, so it cannot vouch for the oldest ones.
WINDOW: Final = (_WORDS - 1) * _WORD_BITS
"""8128 counters behind the newest are told apart; older ones are refused."""


class ReplayWindow:
    """A ring of bit words that the newest counter drags along.

    Ask only about a counter whose message has been authenticated: a forged high counter would otherwise push
    every honest one out of the window.
    """

    __slots__ = ("_newest", "_words")

    def __init__(self) -> None:
        self._newest = -1
        self._words = [0] * _WORDS

    def accept(self, counter: int) -> bool:
        """Note ``counter``; False if it was noted before or is too old to tell."""
        newest = self._newest
        word = counter // _WORD_BITS
        if counter > newest:
            current = newest // _WORD_BITS
            for step in range(min(word - current, _WORDS)):
                self._words[(word - step) % _WORDS] = 0
            self._newest = counter
        elif newest - counter >= WINDOW:
            return False
        slot = word % _WORDS
        bit = 1 << counter % _WORD_BITS
        if self._words[slot] & bit:
            return False
        self._words[slot] |= bit
        return True
