"""Stay in touch with helm: a light passage, held while nothing happens, and a sync whenever helm says so.

Where no passage holds, because the network ends whatever is idle, the device asks every quarter of an hour instead.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import attrs
import trio

from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.reach import Reach
from pharos.caravel.sync import SyncOutcome, ask, failures_as_no_answer, kept_order, open_device_passage
from pharos.wire.errors import BundleError, LinkLostError, WireError
from pharos.wire.link import Backoff
from pharos.wire.passage.client import Passage
from pharos.wire.passage.renewal import keep_passages
from pharos.wire.rpc.status import leaves
from pharos.wire.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

SHORT: Final = 60 * SECONDS
"""A passage that led to a sync and lasted less did not hold."""
SHORT_LIVES: Final = 5
"""So many in a row, and nobody tries to hold one for a while: relays and helm would do little else for such devices."""
POLL_EVERY: Final = 15 * MINUTES
TROUBLE: Final = 60 * SECONDS
"""Before it is tried again where something is wrong here, which takes a person to better it."""
NEWS_JITTER: Final = 2 * SECONDS
"""A node that is back brings the tunnels of all its devices up together."""


async def follow(
    store: ProfileStore,
    *,
    random: Callable[[], float],
    told: Callable[[SyncOutcome], None],
    reach: Reach | None = None,
) -> NoReturn:
    """Hold a passage until cancelled, redialling whenever it is lost; ``told`` hears of every sync.

    ``random`` is uniform in [0, 1): it spreads the redials and renewals of a fleet. Whoever offers ``reach`` a tunnel,
    or tells it of another network, has helm tried at once.

    Raises: HelmRefusedError — this device was revoked.
    """
    following = _Following(store=store, random=random, told=told, reach=reach or Reach(random=random))
    while True:
        refused: HelmRefusedError | None = None
        lost: BaseException | None = None
        trouble: BaseException | None = None
        try:
            await keep_passages(following.dial, following.use, random=random)
        except* HelmRefusedError as group:
            refused = HelmRefusedError(str(next(leaves(group))))
        except* (LinkLostError, NoAnswerError) as group:
            lost = next(leaves(group))
            log.info("the passage is lost: %s", lost)
        except* (WireError, OSError) as group:
            # A full disk, a store that was locked meanwhile, whoever answers for a relay: no reason to end a tunnel.
            trouble = next(leaves(group))
            log.warning("this device is not kept up to date: %s", str(trouble) or type(trouble).__doc__)
        if refused is not None:
            raise refused
        if trouble is not None:
            await following.wait(TROUBLE)
        else:
            await following.wait(lost.retry_after if isinstance(lost, (LinkLostError, NoAnswerError)) else 0.0)


@attrs.define(kw_only=True)
class _Following:
    """What is remembered from one passage to the next."""

    store: ProfileStore
    random: Callable[[], float]
    told: Callable[[SyncOutcome], None]
    reach: Reach
    _backoff: Backoff = attrs.field(init=False)
    _synced_at: float | None = attrs.field(default=None, init=False)
    """When the first sync since the last loss was; None: there was none."""
    _short_lives: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._backoff = Backoff(random=self.random)

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Passage]:
        """Open a passage, wherever it leads to helm."""
        with failures_as_no_answer():
            async with open_device_passage(self.store, reach=self.reach) as passage:
                yield passage

    async def use(self, passage: Passage) -> bool:
        """Sync once at the beginning, for nobody told us anything while we were away, and then when helm says so.

        Returns True for the next passage, which shows another certificate; False when this one has ended.
        """
        if await self._sync(passage):
            return True
        async for note in passage.notes:
            if (note.epoch, note.rev) != kept_order(self.store) and await self._sync(passage):
                return True
        return False

    async def wait(self, retry_after: float) -> None:
        """Wait as long as the back-off, the relays or the network say, or until there is news of the ways."""
        if self._synced_at is not None:
            lived = trio.current_time() - self._synced_at
            self._short_lives = self._short_lives + 1 if lived < SHORT else 0
            self._synced_at = None
        delay = max(self._backoff.next(), retry_after)
        if self._short_lives >= SHORT_LIVES:
            delay = max(delay, POLL_EVERY * (0.5 + self.random()))
        with trio.move_on_after(delay) as patience:
            await self.reach.wait_news()
        if not patience.cancelled_caught:
            self._short_lives = 0
            self._backoff.reset()
            await trio.sleep(NEWS_JITTER * self.random())

    async def _sync(self, passage: Passage) -> bool:
        """Return whether this device has another certificate now."""
        # A second time where somebody waits for this device's word: to ask once more is to give it.
        for _ in range(2):
            with failures_as_no_answer():
                answer = await ask(passage, self.store)
            self._backoff.reset()
            if self._synced_at is None:
                self._synced_at = trio.current_time()
            try:
                outcome = answer.keep()
            except BundleError as error:
                # What is kept stays in use; the next note, or the next passage, asks again.
                log.warning("a bundle was refused: %s", error)
                return False
            self.told(outcome)
            if outcome.renewed:
                return True
            if not outcome.owes:
                break
        return False
