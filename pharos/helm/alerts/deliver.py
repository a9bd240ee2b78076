"""Delivering alerts: each to every target that wants it, at least once, however long that takes and whoever is slow."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from pharos.helm.alerts.message import compose
from pharos.helm.alerts.mutes import end_mutes
from pharos.helm.alerts.queue import Batch, Plan, plan_deliveries, retry_at
from pharos.helm.alerts.send import Compose, send
from pharos.helm.alerts.targets import open_url
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import BusyError, DatabaseCorruptError
from pharos.helm.live.board import now_us
from pharos.helm.model.alerts import AlertTarget, Outcome
from pharos.helm.store.database import Database, Store
from pharos.helm.store.deliveries import (
    end_deliveries,
    list_mutes,
    list_targets,
    pending_deliveries,
    prune_deliveries,
    put_off,
)
from pharos.wire.chance import fraction
from pharos.wire.errors import StateFileError
from pharos.wire.units import HOURS, SECONDS
from pharos.wire.world import in_thread

log = logging.getLogger(__name__)

# apprise gives a connection 4 s and each read 4 s, but nothing ends a service that sends a byte a second. The command
# that asks for a test waits for 30 s.
SEND_TIMEOUT: Final = 25 * SECONDS
# The wall clock may be set at any moment, so it is looked at this often.
LONGEST_WAIT: Final = 60 * SECONDS
# A busy fleet commits all the time, and nobody reads messages faster than this.
BETWEEN_LOOKS: Final = 1 * SECONDS
RETRY_AFTER: Final = 5 * SECONDS
PRUNE_EVERY: Final = 1 * HOURS

Send = Callable[[AlertTarget, Compose], Awaitable[str]]
"""Sends a message to a target; returns why it did not arrive, or an empty string."""


class Post:
    """Sends by apprise. A service that never answers keeps one thread of its own busy, and nobody else's."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._turns: dict[str, trio.CapacityLimiter] = {}

    async def __call__(self, target: AlertTarget, message: Compose) -> str:
        """Send a message to a target; return why it did not arrive, or an empty string."""
        try:
            url = open_url(self._vault, target)
        except StateFileError as error:
            return str(error)
        turn = self._turns.setdefault(target.id, trio.CapacityLimiter(1))
        with trio.move_on_after(SEND_TIMEOUT):
            return await in_thread(send, url, message, limiter=turn, abandon_on_cancel=True)
        return f"no answer within {SEND_TIMEOUT:.0f} s"


class Deliveries:
    """Follows the queue in the record; ``run`` once."""

    def __init__(
        self,
        store: Store,
        post: Send,
        *,
        clock: Callable[[], int] = now_us,
        chance: Callable[[], float] = fraction,
    ) -> None:
        self._store = store
        self._post = post
        self._clock = clock
        self._chance = chance
        self._busy: set[str] = set()
        self._freed = trio.Event()
        self._failing: set[str] = set()

    async def run(self) -> NoReturn:
        """Deliver until cancelled."""
        async with trio.open_nursery() as sending_nursery:
            sending_nursery.start_soon(self._prune)
            while True:
                commits, self._freed = self._store.commits, trio.Event()
                wait: float = RETRY_AFTER
                try:
                    plan = await self._look()
                    wait = self._wait_of(plan)
                except (BusyError, DatabaseCorruptError) as error:
                    log.debug("alerts wait: %s", error)
                else:
                    for batch in plan.batches:
                        self._busy.add(batch.target.id)
                        sending_nursery.start_soon(self._deliver, batch)
                with trio.move_on_after(wait):
                    await self._change(commits)
                await trio.sleep(BETWEEN_LOOKS)

    async def _look(self) -> Plan:
        now = self._clock()

        def read(db: Database) -> Plan:
            pending = pending_deliveries(db)
            if not pending:
                return Plan()
            return plan_deliveries(pending, list_targets(db), list_mutes(db), busy=frozenset(self._busy), now=now)

        plan = await self._store.read(read)
        if plan.muted:
            await self._store.run(end_deliveries, plan.muted, Outcome.MUTED, at=now)
        return plan

    def _wait_of(self, plan: Plan) -> float:
        if plan.next_at is None:
            return LONGEST_WAIT
        return min(max((plan.next_at - self._clock()) / 1e6, 0), LONGEST_WAIT)

    async def _change(self, commits: int) -> None:
        async with trio.open_nursery() as nursery:

            async def until(wait: Callable[[], Awaitable[object]]) -> None:
                await wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until, functools.partial(self._store.wait_commit, commits))
            nursery.start_soon(until, self._freed.wait)

    async def _deliver(self, batch: Batch) -> None:
        target = batch.target
        reason = await self._post(target, functools.partial(compose, batch.items))
        await self._write_down(functools.partial(self._note, batch, reason))
        if reason and target.id not in self._failing:
            log.warning("alerts do not arrive at %s, and are tried again: %s", target.name, reason)
            self._failing.add(target.id)
        elif not reason and target.id in self._failing:
            log.info("alerts arrive at %s again", target.name)
            self._failing.discard(target.id)
        self._busy.discard(target.id)
        self._freed.set()

    def _note(self, batch: Batch, reason: str, db: Database) -> None:
        now = self._clock()
        if not reason:
            end_deliveries(db, [item.delivery.id for item in batch.items], Outcome.SENT, at=now)
            return
        chance = self._chance()
        tries = [(item.delivery.id, retry_at(item.delivery.attempts, now=now, random=chance)) for item in batch.items]
        put_off(db, tries, reason)

    async def _write_down(self, note: Callable[[Database], None]) -> None:
        """Write what came of a try. Until it is written the target is told nothing more, or it would hear it again."""
        while True:
            try:
                await self._store.run(note)
            except (BusyError, DatabaseCorruptError) as error:
                log.debug("what was delivered is written down later: %s", error)
                await trio.sleep(RETRY_AFTER)
            else:
                return

    async def _prune(self) -> NoReturn:
        while True:
            try:
                await self._store.run(_tidy, self._clock())
            except (BusyError, DatabaseCorruptError) as error:
                log.debug("deliveries are pruned later: %s", error)
            await trio.sleep(PRUNE_EVERY)


async def run_deliveries(store: Store, vault: Vault) -> NoReturn:
    """Deliver what the record says is to be delivered, until cancelled."""
    await Deliveries(store, Post(vault)).run()


def _tidy(db: Database, at: int) -> None:
    prune_deliveries(db, at=at)
    end_mutes(db, at)
