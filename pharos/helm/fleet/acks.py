"""What members acknowledged, written down a batch at a time: a thousand nodes that hear of one change, one commit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, NoReturn

import attrs
import trio

from pharos.helm.errors import BusyError, DatabaseCorruptError
from pharos.helm.store.database import Database, Store
from pharos.helm.store.members import note_member
from pharos.wire.desired import Fence
from pharos.wire.units import MILLISECONDS, SECONDS

log = logging.getLogger(__name__)

# What is not written yet when helm dies is asked again at the next dial.
FLUSH_EVERY: Final = 500 * MILLISECONDS
RETRY_AFTER: Final = 5 * SECONDS


@attrs.frozen(kw_only=True)
class Acknowledged:
    """What one member holds by its own word."""

    applied: Fence = attrs.field(factory=Fence)
    deny_order: tuple[int, int] = (0, 0)
    manifest_version: int = 0
    heard_at: int = 0


class Acks:
    """Takes acknowledgements without waiting; ``run`` writes them."""

    def __init__(self) -> None:
        self._new: dict[str, Acknowledged] = {}
        self._noted = trio.Event()

    def note(self, member_id: str, acknowledged: Acknowledged) -> None:
        """Take what a member said; of several only the last is written."""
        self._new[member_id] = acknowledged
        self._noted.set()

    async def run(self, store: Store) -> NoReturn:
        """Write what was noted until cancelled."""
        while True:
            await self._noted.wait()
            await trio.sleep(FLUSH_EVERY)
            await self.flush(store)

    async def flush(self, store: Store) -> None:
        """Write what was noted so far."""
        batch, self._new, self._noted = self._new, {}, trio.Event()
        try:
            await store.run(keep_acknowledged, batch)
        except (BusyError, DatabaseCorruptError) as error:
            log.warning("acknowledgements wait, for core.db cannot be written: %s", error)
            self._new = batch | self._new
            await trio.sleep(RETRY_AFTER)
            self._noted.set()


def keep_acknowledged(db: Database, batch: Mapping[str, Acknowledged]) -> None:
    """Write what members hold; no record of theirs changes by it."""
    for member_id, held in batch.items():
        note_member(
            db,
            member_id,
            at=held.heard_at,
            applied_epoch=held.applied.epoch,
            applied_term=held.applied.term,
            applied_revision=held.applied.revision,
            deny_epoch=held.deny_order[0],
            deny_version=held.deny_order[1],
            manifest_version=held.manifest_version,
        )
