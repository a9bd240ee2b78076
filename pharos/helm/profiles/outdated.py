"""Whether what exported devices were given still holds: nobody tells those apps, so that people have to be told."""

from __future__ import annotations

import logging
from typing import Final, NoReturn

import trio

from pharos.helm.errors import BusyError
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device
from pharos.helm.profiles.configuration import are_current, digests_of
from pharos.helm.profiles.record import read_record
from pharos.helm.store.bundles import profiles_revision
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.helm.store.devices import DEVICES
from pharos.helm.store.exported import exported_devices, ways_of_device
from pharos.helm.store.records import change_record
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

RETRY: Final = 1 * SECONDS


async def run_outdated(store: Store) -> NoReturn:
    """Note whose files are outdated whenever something in them may have changed, until cancelled."""
    done = 0
    while True:
        commits = store.commits
        try:
            revision = await store.read(profiles_revision)
            if revision != done:
                if await store.read(find_outdated):
                    await store.run(note_outdated, at=now_us())
                done = revision
                continue
        except BusyError as error:
            log.warning("whose files are outdated could not be noted, and will be later: %s", error)
            await trio.sleep(RETRY)
            continue
        await store.wait_commit(commits)


def find_outdated(db: Database) -> list[tuple[Device, bool]]:
    """Return the exported devices of which the record says otherwise, and whether their files are outdated."""
    devices = exported_devices(db)
    if not devices:
        return []
    record = read_record(db)
    found = []
    for device in devices:
        outdated = not are_current(ways_of_device(db, device.id), digests_of(record, device))
        if outdated is not (device.outdated_at is not None):
            found.append((device, outdated))
    return found


def note_outdated(db: Database, *, at: int) -> int:
    """Note since when files of devices are outdated, or that they are not any more; return of how many devices."""
    changed = find_outdated(db)
    act = Act(actor="helm", at=at, via="helm")
    for device, outdated in changed:
        verb = "outdated" if outdated else "current"
        values = {"outdated_at": at if outdated else None}
        change_record(db, DEVICES, device.id, device.version, values, act, verb=verb, detail=device.name)
    return len(changed)
