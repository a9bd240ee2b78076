"""Whoever may not use the fleet any more loses the passage that is open, as soon as the record says so."""

from __future__ import annotations

import json
from typing import Final, NoReturn

import trio

from pharos.helm.errors import BusyError
from pharos.helm.model.devices import DeviceState
from pharos.helm.relay.adminweb import Desk
from pharos.helm.relay.online import OnlineDevices
from pharos.helm.store.database import Store
from pharos.helm.store.outbox import Entry, entries_after, last_sequence
from pharos.wire.ids import DeviceId
from pharos.wire.units import SECONDS

RETRY: Final = 1 * SECONDS
AT_THE_DESK: Final = frozenset({"admin", "device", "user"})
"""Nouns by which somebody at the desk may have to go."""


async def run_cuts(
    store: Store,
    online: OnlineDevices,
    desk: Desk | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Follow the outbox and cut devices that are revoked or disabled, and admins at the desk, until cancelled."""
    sequence = await store.read(last_sequence)
    task_status.started()
    while True:
        commits = store.commits
        try:
            entries = await store.read(entries_after, sequence)
            if desk is not None and any(entry.noun in AT_THE_DESK for entry in entries):
                await desk.review()
        except BusyError:
            await trio.sleep(RETRY)
            continue
        for entry in entries:
            sequence = entry.sequence
            if has_left(entry):
                online.cut(DeviceId(entry.subject))
        if not entries:
            await store.wait_commit(commits)


def has_left(entry: Entry) -> bool:
    """Tell whether an entry says that a device may not use the fleet any more."""
    if entry.noun != "device":
        return False
    return entry.body is None or json.loads(entry.body)["state"] != DeviceState.ACTIVE.value
