"""REALITY by a server of ours, in this process or in its own, behind the drivers' interface."""

from __future__ import annotations

import errno
import functools
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, NoReturn

import attrs
import trio

from pharos.buoy.dataplane.base import (
    NO_REASONS,
    REMOVED,
    EngineError,
    OnEvent,
    PeerCounters,
    RealityEndpoint,
    RealityPlan,
    Restart,
)
from pharos.buoy.dataplane.presence import Presence
from pharos.buoy.dataplane.realityplan import EVERY_IPV6, Place, Told, assigned, change_of
from pharos.buoy.dataplane.realityslot import EmbeddedSlot, Slot, SocketSlot
from pharos.buoy.dataplane.sums import Sums
from pharos.wire.desired import MAX_PREVIOUS
from pharos.wire.ids import DeviceId
from pharos.wire.reality.controlserver import SOCKET, spare_socket
from pharos.wire.reality.events import Event, UserConnected
from pharos.wire.units import MILLISECONDS, SECONDS
from pharos.wire.world import wall_ns

log = logging.getLogger(__name__)

SLOTS: Final = 1 + MAX_PREVIOUS
"""The endpoint in use, and those before it."""
REVIEW_EVERY: Final = 1 * SECONDS
RETRY_FIRST: Final = 100 * MILLISECONDS
RETRY_MOST: Final = 1 * SECONDS
"""A server that was killed is back within a second, and its users are waiting."""
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class OurReality:
    """A `RealityDriver` over one server for each endpoint."""

    def __init__(
        self,
        name: str,
        slots: Sequence[Slot],
        *,
        place: Place,
        on_event: OnEvent,
        restart: Restart | None = None,
        clock: Callable[[], int] = wall_ns,
    ) -> None:
        self.name: Final = name
        self._slots = slots
        self._place = place
        self._restart = restart
        self._clock = clock
        self._presence = Presence(on_event)
        self._sums = Sums(len(slots))
        self._plan: RealityPlan | None = None
        self._told: list[Told | None] = [None] * len(slots)
        self._sessions: list[dict[int, DeviceId]] = [{} for _ in slots]
        self._started = [0] * len(slots)
        self._port = 0
        self._turn = trio.Lock()

    @property
    def port(self) -> int:
        """The TCP port in use, 0 while none is served."""
        return self._port

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Serve, watch, and tell a server that came back empty its plan again, until cancelled."""
        async with trio.open_nursery() as nursery:
            for index, slot in enumerate(self._slots):
                if isinstance(slot, EmbeddedSlot):
                    nursery.start_soon(slot.engine.run)
                nursery.start_soon(self._follow, index)
            task_status.started()
            while True:
                await trio.sleep(REVIEW_EVERY)
                self._presence.review(now=trio.current_time(), at=self._now())

    async def apply(self, plan: RealityPlan, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Make the servers be ``plan``; users that stay keep their connections.

        Raises: EngineError — one could not be told; it is told as soon as it can be.
        """
        async with self._turn:
            before = {} if self._plan is None else self._plan.users
            self._plan = plan
            for device_id in before.keys() - plan.users.keys():
                self._presence.forget(device_id, reason=reasons.get(device_id, REMOVED), at=self._now())
                self._sums.forget(device_id)
            await self._tell_all(plan)

    async def read_counters(self) -> list[PeerCounters]:
        """Return what was carried for each device; of a server that is away, what was known last."""
        for index, slot in enumerate(self._slots):
            told = self._told[index]
            if told is not None and told.endpoint is not None:
                try:
                    seen = await slot.look()
                except EngineError as error:
                    log.debug("REALITY is not counted: %s", error)
                    continue
                if seen.started_ns != self._started[index]:
                    self._sums.begin_anew(index)
                    self._started[index] = seen.started_ns
                for user in seen.users:
                    self._sums.set(index, DeviceId(user.name), user.received_bytes, user.sent_bytes)
        users = {} if self._plan is None else self._plan.users
        return [
            PeerCounters(
                device_id=device_id,
                last_handshake=self._presence.last_seen.get(device_id, 0),
                received=received,
                sent=sent,
            )
            for device_id, (received, sent) in self._sums.all()
            if device_id in users
        ]

    async def restart(self) -> None:
        """Raises: EngineError — it is this process that would have to begin anew."""
        if self._restart is None:
            raise EngineError("an embedded engine restarts with its agent")
        await self._restart()

    async def _tell_all(self, plan: RealityPlan) -> None:
        wanted = assigned(plan.endpoints, self._told)
        failure: EngineError | None = None
        for index, endpoint in enumerate(wanted):
            try:
                await self._tell(index, endpoint, plan)
            except EngineError as error:
                # It is told all of it when it is back.
                self._told[index] = None
                failure = error
        if failure is not None:
            raise failure

    async def _tell(self, index: int, endpoint: RealityEndpoint | None, plan: RealityPlan) -> None:
        slot, told = self._slots[index], self._told[index]
        if endpoint is None and told is None and isinstance(slot, EmbeddedSlot):
            return
        change = change_of(endpoint, plan, told, self._place)
        if change is not None:
            number = await slot.tell(change)
            if number in _NO_IPV6 and change.listen is not None and len(change.listen) > 1:
                listen = tuple(place for place in change.listen if place[0] != EVERY_IPV6)
                number = await slot.tell(attrs.evolve(change, listen=listen))
            if number:
                raise EngineError(f"the REALITY server refused its plan: {os.strerror(number)}")
        if told is None and endpoint is not None:
            await self._adopt(index)
        self._told[index] = Told(endpoint=endpoint, policy=plan.policy, users=plan.users)
        if index == 0:
            self._port = 0 if endpoint is None else endpoint.port or await _port_of(slot)

    async def _follow(self, index: int) -> NoReturn:
        """Hear what a server tells; whenever we were not listening, tell it all that it has to be."""
        slot, wait, first = self._slots[index], RETRY_FIRST, True
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(functools.partial(self._listen, index, slot))
                    if not first:
                        await self._tell_again(index)
                    wait = RETRY_FIRST
            except* EngineError as group:
                log.log(logging.INFO if wait == RETRY_FIRST else logging.DEBUG, "REALITY: %s", group.exceptions[0])
            self._forget_sessions(index)
            first = False
            self._told[index] = None
            await trio.sleep(wait)
            wait = min(2 * wait, RETRY_MOST)

    async def _listen(self, index: int, slot: Slot) -> None:
        async with aclosing(slot.watch()) as events:
            async for event in events:
                self._hear(index, event)

    async def _tell_again(self, index: int) -> None:
        async with self._turn:
            if self._plan is not None:
                await self._tell(index, assigned(self._plan.endpoints, self._told)[index], self._plan)

    async def _adopt(self, index: int) -> None:
        """Take the connections over that a server has carried on with while nobody listened."""
        sessions, at = self._sessions[index], self._now()
        known = Counter(sessions.values())
        for user in (await self._slots[index].look()).users:
            device_id = DeviceId(user.name)
            for number in range(user.sessions - known[device_id]):
                # No server counts its sessions downwards: these are ours, for connections whose numbers nobody told.
                sessions[-1 - number - len(sessions)] = device_id
                self._presence.begin(device_id, source="", at=at)

    def _hear(self, index: int, event: Event) -> None:
        sessions, at = self._sessions[index], event.at_ns // 1000
        device_id = DeviceId(event.name)
        if isinstance(event, UserConnected):
            if self._plan is not None and device_id in self._plan.users:
                sessions[event.session] = device_id
                self._presence.begin(device_id, source=event.source, at=at)
            return
        number = event.session if event.session in sessions else _adopted(sessions, device_id)
        if sessions.pop(number, None) is not None:
            self._presence.end(device_id, now=trio.current_time())

    def _forget_sessions(self, index: int) -> None:
        for device_id in self._sessions[index].values():
            self._presence.end(device_id, now=trio.current_time())
        self._sessions[index].clear()

    def _now(self) -> int:
        return self._clock() // 1000


def _adopted(sessions: Mapping[int, DeviceId], device_id: DeviceId) -> int:
    return next((number for number, owner in sessions.items() if number < 0 and owner == device_id), 0)


async def _port_of(slot: Slot) -> int:
    seen = await slot.look()
    return int(seen.listening[0].rpartition(":")[2]) if seen.listening else 0


def make_embedded(*, place: Place, on_event: OnEvent) -> OurReality:
    """Return a driver whose servers run in this process."""
    return OurReality("embedded", [EmbeddedSlot() for _ in range(SLOTS)], place=place, on_event=on_event)


def make_userspace(
    *, place: Place, on_event: OnEvent, restart: Restart | None = None, socket: Path = SOCKET
) -> OurReality:
    """Return a driver of a `pharos-reality` process."""
    slots = [SocketSlot(socket), *(SocketSlot(spare_socket(socket, number)) for number in range(1, SLOTS))]
    return OurReality("userspace", slots, place=place, on_event=on_event, restart=restart)
