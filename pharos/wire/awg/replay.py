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

    __slots__ = ("_words", "newest")

    def __init__(self) -> None:
        self.newest = -1
        """The highest counter noted."""
        self._words = [0] * _WORDS

    def accept(self, counter: int) -> bool:
        """Note ``counter``; False if it was noted before or is too old to tell."""
        newest = self.newest
        word = counter // _WORD_BITS
        if counter > newest:
            current = newest // _WORD_BITS
            for step in range(min(word - current, _WORDS)):
                self._words[(word - step) % _WORDS] = 0
            self.newest = counter
        elif newest - counter >= WINDOW:
            return False
        slot = word % _WORDS
        bit = 1 << counter % _WORD_BITS
        if self._words[slot] & bit:
            return False
        self._words[slot] |= bit
        return True

    def extend(self, count: int) -> None:
        """Note the ``count`` counters that follow the newest: a batch that came in order costs one call."""
        words, counter, left = self._words, self.newest + 1, count
        while left:
            slot, place = counter // _WORD_BITS % _WORDS, counter % _WORD_BITS
            step = min(left, _WORD_BITS - place)
            bits = ((1 << step) - 1) << place
            # What a word held before the newest counter came into it is of another time.
            words[slot] = words[slot] | bits if place else bits
            counter += step
            left -= step
        self.newest += count
