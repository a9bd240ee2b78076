"""Sees whose connections come and go, and ends those of devices that were taken away."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Final, NoReturn

import trio

from pharos.buoy.dataplane.base import EngineError, OnEvent
from pharos.buoy.dataplane.presence import Presence
from pharos.buoy.roothelper.acts import SocketPair
from pharos.buoy.xray.accesslog import Connected
from pharos.buoy.xray.api import XrayApi
from pharos.buoy.xray.joiner import IPAddress, Joiner
from pharos.buoy.xray.observe import LOOK_EVERY, list_sockets
from pharos.buoy.xray.runner import Kill
from pharos.wire.ids import DeviceId

log = logging.getLogger(__name__)

MAX_ASKED: Final = 64
"""Of so many users who go at once Xray is asked where they are; more are a fleet that is set up anew."""


class Witness:
    """Tells of devices that come and go, once it knows who they are; ``clock``: nanoseconds since 1970."""

    def __init__(self, *, kill: Kill, on_event: OnEvent, clock: Callable[[], int]) -> None:
        self.ports: tuple[int, ...] = ()
        """Where Xray serves."""
        self.users: Collection[DeviceId] | None = None
        """Who may be there; None: nobody has said so yet, and nobody is told of."""
        self._kill = kill
        self._owed: set[SocketPair] = set()
        """Connections that are to end and could not be ended yet."""
        self._clock = clock
        self._presence = Presence(on_event)
        self._joiner = Joiner(self._presence)

    def last_seen(self, device_id: DeviceId) -> int:
        """Return when a device began its latest connection, microseconds since 1970, 0 for never."""
        return self._presence.last_seen.get(device_id, 0)

    async def run(self, connections: AsyncIterator[Connected]) -> NoReturn:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look)
            async for connected in connections:
                await self._hear(connected)
        raise AssertionError("a pipe of which we hold both ends has no end")

    def forget(self, device_id: DeviceId, *, reason: str) -> None:
        """The device was taken away."""
        self._joiner.forget(device_id, reason=reason, at=self._now())

    async def cut(self, devices: Collection[DeviceId], elsewhere: Collection[IPAddress]) -> None:
        """End the connections of devices; ``elsewhere`` as in `Joiner.sockets_of`.

        Raises: EngineError — that could not be done, and is tried again at each look.
        """
        if devices:
            there = await list_sockets(self.ports)
            await self._end(self._joiner.sockets_of(devices, there, elsewhere=elsewhere))

    async def _end(self, pairs: Iterable[SocketPair] = ()) -> None:
        self._owed.update(pairs)
        if owed := tuple(self._owed):
            await self._kill(owed)
            self._owed.difference_update(owed)

    async def _hear(self, connected: Connected) -> None:
        if self.users is None:
            return
        if connected.device_id in self.users:
            self._joiner.hear(connected, now=trio.current_time(), at=self._now())
            return
        # Let in at the moment when he was removed.
        try:
            there = await list_sockets(self.ports)
            await self._end(pair for pair in there if pair.remote == connected.source)
        except EngineError as error:
            log.warning("a connection of device %s, which was removed, is still open: %s", connected.device_id, error)

    async def _look(self) -> NoReturn:
        while True:
            await trio.sleep(LOOK_EVERY)
            if len(self._joiner) or self._owed:
                asked_at = trio.current_time()
                try:
                    there = await list_sockets(self.ports)
                    self._joiner.look(there, asked_at=asked_at, now=trio.current_time())
                    self._owed.intersection_update(there)
                    await self._end()
                except EngineError as error:
                    log.warning("connections could not be looked at, or ended: %s", error)
            self._presence.review(now=trio.current_time(), at=self._now())

    def _now(self) -> int:
        return self._clock() // 1000


async def whereabouts(api: XrayApi, devices: Collection[DeviceId]) -> set[IPAddress]:
    """Return from where Xray says that some devices have connections, if they are few. Raises: EngineError."""
    found: set[IPAddress] = set()
    if len(devices) <= MAX_ASKED:
        for device_id in devices:
            found |= await api.read_addresses(device_id)
    return found
