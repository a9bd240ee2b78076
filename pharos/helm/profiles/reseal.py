"""Profiles sealed anew as soon as anything in them changes, and a light notice to the devices that are online.

Nothing here holds the writer up: the record is read beside it, profiles are rendered, hashed and sealed in a worker
thread, and a batch is written in one transaction, each bundle only in place of the one that was read. A profile that
changes meanwhile stays due, for what was checked is the revision that was read.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol

import attrs
import trio

from pharos.helm.ca.authority import Authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.errors import BusyError
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device
from pharos.helm.profiles.record import FleetRecord, read_record
from pharos.helm.profiles.render import Renderer
from pharos.helm.profiles.seal import next_bundle
from pharos.helm.store.bundles import Bundle, DueBundle, due_bundles, profiles_revision, put_checked
from pharos.helm.store.database import Database, Store
from pharos.helm.store.devices import load_devices
from pharos.wire.ids import DeviceId
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

# Devices a transaction: at some 10 KiB a bundle 5 MiB, which an fsync brings to any disk within the time that the
# others who write at that moment would wait for a commit anyway.
BATCH: Final = 500
RETRY: Final = 1 * SECONDS


class Edge(Protocol):
    """Where devices are online."""

    def notify(self, device_id: DeviceId, epoch: int, rev: int) -> bool:
        """Tell a device which bundle is its newest, without waiting; return whether it is here to be told."""


@attrs.frozen(kw_only=True)
class _Batch:
    """Some bundles that are due, read at one moment."""

    revision: int
    """Of profiles: what is checked by this batch."""
    due: Sequence[DueBundle]
    devices: dict[DeviceId, Device]
    record: FleetRecord | None
    """None where the caller's own is of this revision."""


async def run_reseal(store: Store, authorities: LiveAuthority, edge: Edge) -> NoReturn:
    """Seal what changes for as long as helm runs."""
    done = 0
    while True:
        commits = store.commits
        try:
            if await store.read(profiles_revision) != done:
                done = await reseal(store, authorities.current, edge)
                continue
        except BusyError as error:
            log.warning("profiles could not be sealed, and will be later: %s", error)
            await trio.sleep(RETRY)
            continue
        await store.wait_commit(commits)


async def reseal(store: Store, authority: Authority, edge: Edge) -> int:
    """Seal every profile that is due, batch by batch; return the revision of profiles that is sealed then.

    Raises: BusyError — the store cannot be written now; what was sealed before stays.
    """
    renderer: Renderer | None = None
    known, after = 0, ""
    while True:
        batch = await store.read(_read_batch, known, after)
        if batch.record is not None:
            renderer, known = Renderer(batch.record), batch.revision
        if not batch.due:
            if not after:
                return batch.revision
            # Once more from the beginning: something may have changed behind us.
            after = ""
            continue
        assert renderer is not None, "the first batch brings the record"
        after = batch.due[-1].device_id
        sealed = await trio.to_thread.run_sync(_seal, renderer, batch, authority, now_us())
        written = await store.run(put_checked, sealed, checked=batch.revision)
        for device_id, bundle in written:
            edge.notify(device_id, bundle.epoch, bundle.revision)


def _read_batch(db: Database, known: int, after: str) -> _Batch:
    revision = profiles_revision(db)
    due = due_bundles(db, at=now_us(), after=after, limit=BATCH)
    devices = load_devices(db, [entry.device_id for entry in due]) if due else []
    return _Batch(
        revision=revision,
        due=due,
        devices={device.id: device for device in devices},
        record=read_record(db) if revision != known and due else None,
    )


def _seal(
    renderer: Renderer, batch: _Batch, authority: Authority, at: int
) -> list[tuple[DeviceId, Bundle | None, Bundle]]:
    """Return for each device the bundle that it had, and the one it has now: the same where nothing changed."""
    fleet = renderer.record.fleet
    make = functools.partial(next_bundle, fleet=fleet.id, epoch=fleet.epoch, authority=authority, at=at)
    return [
        (
            entry.device_id,
            entry.bundle,
            make(renderer.render(batch.devices[entry.device_id]), entry.bundle, device=batch.devices[entry.device_id]),
        )
        for entry in batch.due
    ]
