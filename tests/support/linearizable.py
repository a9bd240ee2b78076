"""Whether what callers saw of one record can have come about one call after the other (Wing & Gong, JPDC 1993).

A history says when each call began and ended, and what it was told. It is linearizable if there is a moment within each
call at which it took place, such that each was told what the record then said. A call without an answer may have taken
place at any moment from its beginning on, or never.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

State = tuple[int, str]
"""The version of a record, and what it says."""


class Told(enum.Enum):
    """How a call ended."""

    READ = "read"
    WRITTEN = "written"
    STALE = "stale"
    """409: nothing was changed; what the record says now came along."""
    NOTHING = "nothing"
    """No answer came."""
    REFUSED = "refused"
    """503 and its like: nothing was changed."""


@attrs.define(kw_only=True)
class Call:
    """One call of one caller."""

    record: str
    began: int
    ended: int | None = None
    seen: int = 0
    """The version that a write said it had seen; 0 of a read."""
    note: str = ""
    """What a write wants the record to say."""
    told: Told = Told.NOTHING
    state: State | None = None
    """What the answer said that the record says."""


class History:
    """Calls as they happen; times are places in one order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._clock = itertools.count(1)

    @contextmanager
    def call(self, record: str, **said: Any) -> Iterator[Call]:
        """Note a call that the block makes; it fills in what it was told. Without a word of it there was no answer."""
        made = Call(record=record, began=next(self._clock), **said)
        self.calls.append(made)
        yield made
        if made.told is not Told.NOTHING:
            made.ended = next(self._clock)

    def faults(self, first: State) -> list[str]:
        """Return the records of which the history is not linearizable, each having begun as ``first``."""
        records = sorted({call.record for call in self.calls})
        return [name for name in records if not is_linearizable([c for c in self.calls if c.record == name], first)]


def is_linearizable(calls: Iterable[Call], first: State) -> bool:
    """Whether there is an order of these calls of one record."""
    # A read without an answer, and a write that was refused, say nothing.
    left = [call for call in calls if call.told is not Told.REFUSED and (call.ended is not None or call.seen)]
    left.sort(key=lambda call: call.began)
    return _search(left, first)


def _search(calls: Sequence[Call], first: State) -> bool:
    """Look for an order, depth first; what was tried once from one state is not tried again."""
    tried: set[tuple[frozenset[int], State]] = set()
    stack: list[tuple[frozenset[int], State]] = [(frozenset(), first)]
    answered = frozenset(number for number, call in enumerate(calls) if call.ended is not None)
    while stack:
        done, state = stack.pop()
        if answered <= done:
            return True
        if (done, state) in tried:
            continue
        tried.add((done, state))
        open_ = [number for number in range(len(calls)) if number not in done]
        # Whoever ended first has to come before all that began later.
        limit = min(ended for number in open_ if (ended := calls[number].ended) is not None)
        for number in open_:
            call = calls[number]
            if call.began < limit and (after := _after(call, state)) is not None:
                stack.append((done | {number}, after))
    return False


def _after(call: Call, state: State) -> State | None:
    """Return what the record says once a call has taken place; None: it cannot, with this answer."""
    match call.told:
        case Told.READ:
            return state if call.state == state else None
        case Told.WRITTEN:
            after = (state[0] + 1, call.note)
            return after if call.seen == state[0] and call.state == after else None
        case Told.STALE:
            return state if call.seen != state[0] and call.state == state else None
        case _:
            return (state[0] + 1, call.note) if call.seen == state[0] else None
