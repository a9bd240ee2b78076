"""From the outbox to the hub: the feed shows what was committed, in the order it was committed."""

from __future__ import annotations

import logging
from typing import Final, NoReturn

import msgspec
import trio

from pharos.helm.errors import BusyError
from pharos.helm.live.board import now_us
from pharos.helm.live.deltas import delta_of
from pharos.helm.live.hub import GATHER, Hub
from pharos.helm.store.database import Database, Store
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.outbox import Entry, entries_after, last_sequence, prune_outbox
from pharos.helm.store.views.devices import read_names
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)


class _Named(msgspec.Struct):
    """What of a record is read here."""

    name: str


# 20 ms of 300 changes a second are six; the rest is for one transaction that changes many records.
PAGE: Final = 500
# A locked database is waited for by the connection itself already.
RETRY: Final = 1 * SECONDS
# 300 changes a second are 180,000 rows in this time, some 100 MB at most.
PRUNE_INTERVAL: Final = 600 * SECONDS


async def run_feed(store: Store, hub: Hub, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Drive the live feed until cancelled. ``started`` is called when no commit after it can be missed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run_events)
        nursery.start_soon(_prune, store)
        await nursery.start(follow_outbox, store, hub)
        task_status.started()


async def follow_outbox(
    store: Store, hub: Hub, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Hand out every entry committed from now on, until cancelled."""
    hub.sequence, hub.names = await store.read(_begin)
    task_status.started()
    while True:
        commits = store.commits
        try:
            entries = await store.read(entries_after, hub.sequence, PAGE)
        except BusyError:
            await trio.sleep(RETRY)
            continue
        for entry in entries:
            _remember(hub, entry)
        if entries:
            hub.hand_out([delta_of(entry) for entry in entries])
        if not entries:
            await store.wait_commit(commits)
        elif len(entries) < PAGE:
            # The first change goes out at once, those right behind it together.
            await trio.sleep(GATHER)


def _begin(db: Database) -> tuple[int, dict[str, str]]:
    return last_sequence(db), read_names(db)


async def _prune(store: Store) -> NoReturn:
    while True:
        try:
            while await store.run(prune_outbox, at=now_us()):
                pass
        except BusyError as error:
            log.debug("the outbox is pruned later: %s", error)
        await trio.sleep(PRUNE_INTERVAL)


def _remember(hub: Hub, entry: Entry) -> None:
    if entry.noun == DEVICES.kind and entry.body is not None:
        hub.names[entry.subject] = msgspec.json.decode(entry.body, type=_Named).name
    device = entry.subject if entry.kind.startswith("device_") else None
    node = entry.subject if entry.kind.startswith(("node_", "relay_")) else None
    hub.remember(entry.kind, at=entry.at, node=node, device=device, text=entry.detail)
