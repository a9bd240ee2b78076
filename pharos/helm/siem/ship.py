"""Each sink's own task: what is behind its cursor goes out, and the cursor moves once that was acknowledged.

At least once: whoever is killed in between sends the same again, under the same ids. Nobody who writes waits for it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Final, NoReturn

import attrs
import trio

from pharos.helm.ca.vault import Vault
from pharos.helm.errors import BusyError, DatabaseCorruptError, SinkError
from pharos.helm.live.board import now_us
from pharos.helm.model.sinks import Cursor, Sink, Source
from pharos.helm.siem.acts import open_headers
from pharos.helm.siem.batches import MAX_ROWS, Batch, event_batch, names_in, read_audit, read_events
from pharos.helm.siem.send import SIZES, TIMEOUT, Send, open_sender
from pharos.helm.store.database import Store
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.sinks import (
    UNKNOWN,
    enabled_sinks,
    first_event_since,
    move_cursor,
    note_failure,
    standing_cursor,
)
from pharos.wire.chance import fraction
from pharos.wire.errors import StateFileError
from pharos.wire.link import Backoff
from pharos.wire.units import MINUTES, SECONDS

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Pace:
    """How often, in seconds."""

    gather: float = 1 * SECONDS
    """Between two batches that are not full: one durable write a second and sink is no load."""
    look: float = 2 * SECONDS
    """Whether there are events, which wake nobody."""
    first_retry: float = 1 * SECONDS
    # A receiver that is back is told within five minutes; until then one request a sink in 2.5 minutes.
    longest_retry: float = 5 * MINUTES
    timeout: float = TIMEOUT


_PACE: Final = Pace()


async def run_sinks(store: Store, vault: Vault, *, pace: Pace = _PACE, clock: Callable[[], int] = now_us) -> NoReturn:
    """Send to every enabled sink until cancelled; one that is changed begins anew with what it has become."""
    running: dict[str, tuple[int, trio.CancelScope]] = {}
    fleet = (await store.read(get_fleet)).id
    async with trio.open_nursery() as sink_nursery:
        while True:
            commits = store.commits
            try:
                wanted = {sink.id: sink for sink in await store.read(enabled_sinks)}
            except (BusyError, DatabaseCorruptError) as error:
                log.debug("sinks are looked at later: %s", error)
                await trio.sleep(pace.look)
                continue
            for sink_id, (version, scope) in list(running.items()):
                if sink_id not in wanted or wanted[sink_id].version != version:
                    scope.cancel()
                    del running[sink_id]
            for sink in wanted.values():
                if sink.id not in running:
                    scope = trio.CancelScope()
                    running[sink.id] = (sink.version, scope)
                    shipper = Shipper(store, vault, sink, fleet, pace=pace, clock=clock)
                    sink_nursery.start_soon(_run_within, scope, shipper)
            await store.wait_commit(commits)
            # Of many changes at once one look is enough.
            await trio.sleep(pace.gather)


async def _run_within(scope: trio.CancelScope, shipper: Shipper) -> None:
    with scope:
        await shipper.run()


class Shipper:
    """Sends to one sink, as its record is at one version."""

    def __init__(
        self, store: Store, vault: Vault, sink: Sink, fleet: str, *, pace: Pace, clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._vault = vault
        self._sink = sink
        self._fleet = fleet
        self._pace = pace
        self._clock = clock
        self._limit = MAX_ROWS
        self._error = ""
        self._backoff = Backoff(random=fraction, first=pace.first_retry, cap=pace.longest_retry)

    async def run(self) -> NoReturn:
        """Send until cancelled."""
        while True:
            try:
                headers = open_headers(self._vault, self._sink)
                async with open_sender(self._sink, headers, self._fleet, timeout=self._pace.timeout) as send:
                    while True:
                        await self._round(send)
            except (SinkError, StateFileError) as error:
                await self._failed(error)

    async def _round(self, send: Send) -> None:
        """Send one batch of each source, then wait until there may be more.

        Raises: SinkError, StateFileError.
        """
        commits = self._store.commits
        try:
            # Each source has its turn, whichever has more to say.
            more = [await self._ship(send, source) for source in self._sink.sources]
        except (BusyError, DatabaseCorruptError) as error:
            log.debug("sink %s waits for the store: %s", self._sink.name, error)
            await trio.sleep(self._pace.look)
            return
        self._backoff.reset()
        if any(more):
            return
        with trio.move_on_after(self._pace.look):
            await self._store.wait_commit(commits)
        await trio.sleep(self._pace.gather)

    async def _ship(self, send: Send, source: Source) -> bool:
        """Send the next batch of a source; return whether there may be more at once."""
        cursor = await self._store.read(standing_cursor, self._sink, source)
        if cursor is None:
            # The sink was changed, switched off or removed a moment ago: nothing more goes where it went before, and
            # this task ends in the next moment.
            return False
        if cursor.sequence == UNKNOWN:
            begin = await self._store.read_telemetry(first_event_since, self._sink.created_at)
            cursor = Cursor(sequence=begin, mark=0)
            await self._move(source, cursor, sent=False)
        batch = await self._next(source, cursor)
        if batch is None:
            return False
        remark = await send(batch.records)
        await self._move(source, batch.cursor, sent=True)
        if self._error:
            log.info("sink %s takes records again", self._sink.name)
            self._error = ""
        if remark:
            log.warning("sink %s: %s", self._sink.name, remark)
        self._limit = min(self._limit * 2, MAX_ROWS)
        return batch.full

    async def _next(self, source: Source, cursor: Cursor) -> Batch | None:
        at, size_of = self._clock(), SIZES[self._sink.kind]
        if source is Source.AUDIT:
            return await self._store.read(
                functools.partial(read_audit, limit=self._limit, at=at, size_of=size_of), self._fleet, cursor
            )
        page = await self._store.read_telemetry(read_events, cursor, limit=self._limit)
        if page is None:
            return None
        names = await self._store.read(names_in, page)
        return event_batch(self._fleet, cursor, page, names, limit=self._limit, at=at, size_of=size_of)

    async def _move(self, source: Source, cursor: Cursor, *, sent: bool) -> None:
        await self._store.run(move_cursor, self._sink.id, source, cursor, at=self._clock(), sent=sent)

    async def _failed(self, error: SinkError | StateFileError) -> None:
        """Note why, once, and wait."""
        if str(error) != self._error:
            self._error = str(error)
            log.warning("sink %s (%s) takes no records: %s", self._sink.name, self._sink.host, error)
            try:
                await self._store.run(note_failure, self._sink.id, str(error), at=self._clock())
            except (BusyError, DatabaseCorruptError) as refusal:
                log.debug("sink %s: its failure is not on record: %s", self._sink.name, refusal)
                self._error = ""
        wait = 0.0
        if isinstance(error, SinkError):
            wait = error.wait
            if error.smaller:
                self._limit = max(self._limit // 2, 1)
        await trio.sleep(max(self._backoff.next(), wait))
