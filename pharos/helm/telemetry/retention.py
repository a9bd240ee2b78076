"""How long telemetry is kept, and how it goes: a little at a time, so that whoever writes hardly waits.

Sums for an enterprise's fleet of 1,000 nodes and 1,000 devices that are connected at any moment, 5,000 series in all:

samples  every 30 s, some 50 bytes with their index: 14 million a day, 0.7 GB
minutes  some 130 bytes: 7 million a day, 0.9 GB
hours    some 130 bytes, 13,000 series where other devices come by day: 28 million in 90 days, 3.7 GB
events   a handshake each two minutes, some 250 bytes: 720,000 a day, 0.2 GB
sessions ten a day and device, some 500 bytes: 900,000 in 90 days, 0.5 GB

One person's fleet has some 40 series and keeps less than 50 MB.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import attrs
import trio

from pharos.helm.errors import BusyError, DatabaseCorruptError
from pharos.helm.live.board import now_us
from pharos.helm.model.fleet import Posture
from pharos.helm.store.database import Database, Store
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.handshakes import prune_events
from pharos.helm.store.samples import prune_gaps, prune_level
from pharos.helm.store.sessions import prune_sessions
from pharos.helm.store.settings import setting
from pharos.helm.telemetry.rollups import Level
from pharos.wire.units import DAYS, HOURS, MINUTES

log = logging.getLogger(__name__)

SAMPLES_KEPT: Final[Mapping[Posture, float]] = {Posture.PERSONAL: 6 * HOURS, Posture.ENTERPRISE: 24 * HOURS}
MINUTES_KEPT: Final[Mapping[Posture, float]] = {Posture.PERSONAL: 2 * DAYS, Posture.ENTERPRISE: 3 * DAYS}
EVENTS_KEPT: Final = 7 * DAYS
"""Sessions and counts are worked out of them long before."""

# 500 rows out of a table and its indexes take some 10 ms.
PRUNED_AT_ONCE: Final = 500
_PERIOD: Final = 10 * MINUTES


@attrs.frozen(kw_only=True)
class Retention:
    """For how long each kind is kept, in microseconds."""

    levels: Mapping[Level, int]
    events: int
    sessions: int

    @classmethod
    def of(cls, posture: Posture, days: int) -> Retention:
        """Return what a posture keeps for ``days`` in all, as the setting ``metrics.days`` says."""
        whole = days * DAYS
        kept = {
            Level.RAW: SAMPLES_KEPT[posture],
            Level.MINUTES: MINUTES_KEPT[posture],
            Level.HOURS: whole,
        }
        return cls(
            levels={level: _microseconds(min(seconds, whole)) for level, seconds in kept.items()},
            events=_microseconds(min(EVENTS_KEPT, whole)),
            sessions=_microseconds(whole),
        )


def get_retention(db: Database) -> Retention:
    """Return for how long this fleet keeps telemetry, by the core record."""
    return Retention.of(get_fleet(db).posture, setting(db, "metrics.days"))


async def run_pruning(store: Store, *, clock: Callable[[], int] = now_us) -> NoReturn:
    """Remove what is older than it is kept, every ten minutes; ``clock`` gives microseconds since 1970."""
    while True:
        try:
            await prune(store, await store.read(get_retention), now=clock())
        except (BusyError, DatabaseCorruptError) as error:
            log.warning("telemetry.db could not be pruned, and will be later: %s", error)
        await trio.sleep(_PERIOD)


async def prune(store: Store, retention: Retention, *, now: int, limit: int = PRUNED_AT_ONCE) -> None:
    """Remove what is older than it is kept, at most ``limit`` rows a transaction."""
    for level, kept in retention.levels.items():
        after: int | None = 0
        while after is not None:
            after = await store.record(prune_level, level, before=now - kept, after=after, limit=limit)
    await _until_less(store, limit, functools.partial(prune_events, before=now - retention.events, limit=limit))
    await _until_less(store, limit, functools.partial(prune_sessions, before=now - retention.sessions, limit=limit))
    await store.record(prune_gaps, before=now - retention.levels[Level.HOURS])


async def _until_less(store: Store, limit: int, remove: Callable[[Database], int]) -> None:
    while await store.record(remove) >= limit:
        pass


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
