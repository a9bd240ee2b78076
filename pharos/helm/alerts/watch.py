"""Watching over the fleet: alerts are raised when something is so that should not be, and end when it is over."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

import attrs
import trio

from pharos.helm.alerts.acts import clear_alert, raise_alert
from pharos.helm.alerts.conditions import SETTLE, Key, find_conditions
from pharos.helm.alerts.judge import CLOSED_FOR, Judge, Verdict
from pharos.helm.alerts.picture import Picture, Recorded, read_recorded
from pharos.helm.alerts.usage import look_at_uses
from pharos.helm.errors import BusyError, DatabaseCorruptError
from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import Board, now_us
from pharos.helm.model.alerts import Severity
from pharos.helm.store.alerts import closed_by_people, standing_severities
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.wire.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

# The board is in memory, and a thousand sightings take some milliseconds.
LOOK_EVERY: Final = 2 * SECONDS
# The record is read when it has changed, and for the sake of clock, disk and calendar each minute.
READ_AT_LEAST: Final = 60 * SECONDS
READ_AT_MOST: Final = 10 * SECONDS
# An online node acknowledges within a second; one that re-reads all of its peers may take a minute.
STALE_AFTER: Final = 10 * MINUTES


_Alerts: TypeAlias = tuple[dict[Key, Severity], dict[Key, tuple[int, Severity]]]
"""Those that stand, and those that people have closed."""


@attrs.define
class Revisions:
    """Remembers which revision was the newest when."""

    _seen: deque[tuple[float, tuple[int, int]]] = attrs.field(factory=deque)

    def settled(self, newest: tuple[int, int], now: float) -> tuple[int, int]:
        """Return the epoch and revision that were the newest `STALE_AFTER` ago; (0, 0) if nobody knows."""
        if not self._seen or self._seen[-1][1] != newest:
            self._seen.append((now, newest))
        while len(self._seen) > 1 and now - self._seen[1][0] >= STALE_AFTER:
            self._seen.popleft()
        at, revision = self._seen[0]
        return revision if now - at >= STALE_AFTER else (0, 0)

    def forget(self) -> None:
        """Begin anew: we slept, and nobody could be told anything."""
        self._seen.clear()


class Watch:
    """Looks, judges and writes down; ``run`` once."""

    def __init__(
        self,
        store: Store,
        board: Board,
        wakes: Wakes,
        *,
        wall: Callable[[], int] = now_us,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._store = store
        self._board = board
        self._wakes = wakes
        self._wall = wall
        self._clock = clock
        self._judge = Judge()
        self._revisions = Revisions()
        self._recorded: Recorded | None = None
        self._read_at = 0.0
        self._commits = -1
        self._read: tuple[int, _Alerts] | None = None

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        woken = self._wakes.count
        while True:
            if self._wakes.count != woken:
                woken = self._wakes.count
                self._revisions.forget()
            try:
                await self.look()
            except (BusyError, DatabaseCorruptError) as error:
                log.debug("alerts could not be looked after: %s", error)
            await self._wakes.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Look once, and write down what follows.

        Raises: BusyError, DatabaseCorruptError — it was not; the next look finds the same.
        """
        recorded = await self._record()
        newest = recorded.epoch, recorded.revision
        picture = Picture(
            recorded=recorded, seen=self._board.seen(), settled=self._revisions.settled(newest, self._clock())
        )
        at = self._wall()
        found = find_conditions(picture, at=at)
        standing, closed = await self._alerts(at)
        verdict = self._judge.judge(found, standing, closed, now=self._clock(), at=at)
        if verdict:
            await self._store.run(write_down, verdict, at)

    async def _alerts(self, at: int) -> _Alerts:
        # They change by commits only, and a long history of them takes milliseconds to look through.
        commits = self._store.commits
        if self._read is None or self._read[0] != commits:
            self._read = commits, await self._store.read(_read_alerts, at)
        return self._read[1]

    async def _record(self) -> Recorded:
        age = self._clock() - self._read_at
        changed = self._store.commits != self._commits
        if self._recorded is not None and age < (READ_AT_MOST if changed else READ_AT_LEAST):
            return self._recorded
        self._commits, self._read_at = self._store.commits, self._clock()
        at = self._wall()
        uses = await look_at_uses(self._store, at)
        recorded = await self._store.read(read_recorded, self._store.state, at)
        self._recorded = attrs.evolve(recorded, uses=uses)
        return self._recorded


async def run_alerts(store: Store, board: Board, wakes: Wakes) -> NoReturn:
    """Watch over the fleet until cancelled."""
    await Watch(store, board, wakes).run()


def write_down(db: Database, verdict: Verdict, at: int) -> None:
    """Raise and clear what was judged."""
    act = Act(actor="helm", at=at, via="helm")
    for one in verdict.raised:
        raise_alert(
            db, act, one.kind, one.severity, one.text, noun=one.noun, subject=one.subject, evidence=one.evidence
        )
    for kind, subject in verdict.cleared:
        clear_alert(db, act, kind, subject)


def _read_alerts(db: Database, at: int) -> _Alerts:
    return standing_severities(db, SETTLE.keys()), closed_by_people(db, SETTLE.keys(), at - CLOSED_FOR)
