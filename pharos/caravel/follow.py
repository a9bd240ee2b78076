"""Stay in touch with helm: a light passage, held while nothing happens, and a sync whenever helm says so."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

import trio

from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.sync import SyncOutcome, ask, failures_as_no_answer, kept_order, open_device_passage
from pharos.wire.errors import BundleError, LinkLostError
from pharos.wire.link import Backoff
from pharos.wire.passage.client import Passage
from pharos.wire.passage.renewal import keep_passages
from pharos.wire.rpc.status import leaves

log = logging.getLogger(__name__)


async def follow(store: ProfileStore, *, random: Callable[[], float], told: Callable[[SyncOutcome], None]) -> NoReturn:
    """Hold a passage until cancelled, redialling whenever it is lost; ``told`` hears of every sync.

    ``random`` is uniform in [0, 1): it spreads the redials and renewals of a fleet.

    Raises: HelmRefusedError — this device was revoked.
    """
    backoff = Backoff(random=random)

    @asynccontextmanager
    async def dial() -> AsyncIterator[Passage]:
        with failures_as_no_answer():
            async with open_device_passage(store) as passage:
                yield passage

    async def sync(passage: Passage) -> None:
        # A second time where a node waits for this device's word: to ask once more is to give it.
        for _ in range(2):
            with failures_as_no_answer():
                answer = await ask(passage, store)
            backoff.reset()
            try:
                outcome = answer.keep()
            except BundleError as error:
                # What is kept stays in use; the next note, or the next passage, asks again.
                log.warning("a bundle was refused: %s", error)
                return
            told(outcome)
            if not outcome.owes:
                return

    async def use(passage: Passage) -> None:
        # Once at the beginning: nobody told us anything while we were away.
        await sync(passage)
        async for note in passage.notes:
            if (note.epoch, note.rev) != kept_order(store):
                await sync(passage)

    while True:
        refused: HelmRefusedError | None = None
        wait = 0.0
        try:
            await keep_passages(dial, use, random=random)
        except* HelmRefusedError as group:
            refused = HelmRefusedError(str(next(leaves(group))))
        except* (LinkLostError, NoAnswerError) as group:
            lost = next(leaves(group))
            log.info("the passage is lost: %s", lost)
            wait = lost.retry_after if isinstance(lost, (LinkLostError, NoAnswerError)) else 0.0
        if refused is not None:
            raise refused
        await trio.sleep(max(backoff.next(), wait))
