"""Profiles sealed anew as soon as anything in them changes, and a light notice to the devices that are online.

Nothing here holds the writer up: the record is read beside it, profiles are rendered, hashed and sealed in a worker
thread, and a batch is written in one transaction, each bundle only in place of the one that was read. A profile that
changes meanwhile stays due, for what was checked is the revision that was read.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol, TypeAlias

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
from pharos.wire.rpc.status import leaves
from pharos.wire.units import SECONDS
from pharos.wire.world import in_thread

log = logging.getLogger(__name__)

# Devices a transaction: at some 10 KiB a bundle 5 MiB, which an fsync brings to any disk within the time that the
# others who write at that moment would wait for a commit anyway.
BATCH: Final = 500
RETRY: Final = 1 * SECONDS


class Edge(Protocol):
    """Where devices are online."""

    def notify(self, device_id: DeviceId, epoch: int, rev: int) -> bool:
        """Tell a device which bundle is its newest, without waiting; return whether it is here to be told."""


_Sealed: TypeAlias = list[tuple[DeviceId, Bundle | None, Bundle]]
"""For each device the bundle that it had, and the one it has now."""


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
                done = await reseal(store, authorities, edge)
                continue
        except BusyError as error:
            log.warning("profiles could not be sealed, and will be later: %s", error)
            await trio.sleep(RETRY)
            continue
        await store.wait_commit(commits)


async def reseal(store: Store, authorities: LiveAuthority, edge: Edge) -> int:
    """Seal every profile that is due, batch by batch; return the revision of profiles that is sealed then.

    Raises: BusyError — the store cannot be written now; what was sealed before stays.
    """
    sealer = _Sealer(store, authorities, edge)
    while await sealer.go_through():
        # Once more from the beginning: something may have changed behind us.
        pass
    return sealer.revision


class _Sealer:
    """Goes through all devices; while one batch is written, the next one is read and sealed."""

    def __init__(self, store: Store, authorities: LiveAuthority, edge: Edge) -> None:
        self._store = store
        self._authorities = authorities
        self._edge = edge
        self._renderer: Renderer | None = None
        self._rendered = 0
        """Revision of profiles that the renderer is of; a batch of another one brings its own record."""
        self.revision = 0
        """Of profiles, as of the batch read last."""

    async def go_through(self) -> bool:
        """Seal what is due; return whether there was anything.

        Raises: BusyError.
        """
        failure: BusyError | None = None
        after = ""
        try:
            async with trio.open_nursery() as nursery:
                send, receive = trio.open_memory_channel[tuple[int, _Sealed]](0)
                nursery.start_soon(self._write, receive)
                async with send:
                    while (batch := await self._read(after)).due:
                        after = batch.due[-1].device_id
                        assert self._renderer is not None, "the first batch brings the record"
                        # The authority of this moment: a rotation may have exchanged the key since the batch before.
                        authority = self._authorities.current
                        sealed = await in_thread(_seal, self._renderer, batch, authority, now_us())
                        await send.send((batch.revision, sealed))
        except* BusyError as group:
            failure = next(leaf for leaf in leaves(group) if isinstance(leaf, BusyError))
        if failure is not None:
            raise failure
        return bool(after)

    async def _read(self, after: str) -> _Batch:
        batch = await self._store.read(_read_batch, self._rendered, after)
        self.revision = batch.revision
        if batch.record is not None:
            self._renderer, self._rendered = Renderer(batch.record), batch.revision
        return batch

    async def _write(self, receive: trio.MemoryReceiveChannel[tuple[int, _Sealed]]) -> None:
        async for checked, sealed in receive:
            for device_id, bundle in await self._store.run(put_checked, sealed, checked=checked):
                self._edge.notify(device_id, bundle.epoch, bundle.revision)


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


def _seal(renderer: Renderer, batch: _Batch, authority: Authority, at: int) -> _Sealed:
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
