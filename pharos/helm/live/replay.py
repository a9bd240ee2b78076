"""From a sequence that somebody has seen to the present: the deltas between, or the news that they are gone."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.helm.live.deltas import Batch, Nouns, delta_of
from pharos.helm.live.subscriber import Gap
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.outbox import entries_after, last_sequence, oldest_sequence

# Fifty seconds of 200 changes each; a page that missed more is quicker with a new picture.
MAX_REPLAY: Final = 10_000
# Some 300 kB of JSON in one message.
PAGE: Final = 500


@attrs.frozen
class Seen:
    """Up to where somebody has followed the outbox before."""

    sequence: int
    epoch: int | None = None
    """Of the fleet, as the feed said it; None takes it to be the same still."""


@attrs.frozen
class Reach:
    """What the outbox has for somebody who comes back."""

    epoch: int
    last: int
    """Sequence up to which a replay goes; what is newer comes by way of the hub."""
    gap: Gap | None
    """Instead of a replay."""


def find_reach(db: Database, seen: Seen | None) -> Reach:
    """Return how far the outbox reaches back to what somebody has seen, None for nothing."""
    epoch, last = get_fleet(db).epoch, last_sequence(db)
    if seen is None or (seen.sequence == last and seen.epoch in (None, epoch)):
        return Reach(epoch, last, None)
    if seen.epoch not in (None, epoch) or seen.sequence > last:
        # A fleet restored from a backup counts anew from what the backup held.
        return Reach(epoch, last, Gap(1, last))
    kept = oldest_sequence(db) <= seen.sequence + 1 and last - seen.sequence <= MAX_REPLAY
    return Reach(epoch, last, None if kept else Gap(seen.sequence + 1, last))


def read_replay(db: Database, after: int, last: int, nouns: Nouns) -> tuple[int, str | None]:
    """Return the next page of a replay as one message, None where all of it is not for these nouns, and its end."""
    entries = entries_after(db, after, min(PAGE, last - after))
    until = entries[-1].sequence if entries else last
    return until, Batch([delta_of(entry) for entry in entries], (), until).text_for(nouns)
