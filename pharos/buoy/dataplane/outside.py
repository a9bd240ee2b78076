"""AmneziaWG by engines outside of this process, behind the drivers' interface: they outlive the agent, and may be gone.

One engine is enough where it serves several ports with parameters of their own. Others serve one each, on an interface
each: the endpoint in use on the first, those before it on the spare ones. A device is then routed to where it was heard
last.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NoReturn, Protocol

import attrs
import trio

from pharos.buoy.dataplane.base import (
    NO_REASONS,
    AwgEndpoint,
    AwgPlan,
    EngineError,
    OnEvent,
    PeerCounters,
    Restart,
)
from pharos.buoy.dataplane.links import Link, main_link, spare_link
from pharos.buoy.dataplane.roster import Roster, Sighting
from pharos.wire.awg.events import Event
from pharos.wire.desired import MAX_PREVIOUS
from pharos.wire.ids import DeviceId
from pharos.wire.link import Backoff
from pharos.wire.rpc.status import leaves
from pharos.wire.units import MILLISECONDS, MINUTES, SECONDS
from pharos.wire.world import wall_ns

log = logging.getLogger(__name__)

RETRY_FIRST: Final = 100 * MILLISECONDS
RETRY_MOST: Final = 1 * SECONDS
"""An engine that was killed is back within a second, and its devices are waiting."""
PATIENCE: Final = 10 * SECONDS
"""For an engine that has not answered since we began; systemd starts it and us at the same time."""
LOOK_EVERY: Final = 1 * SECONDS
"""At an engine that tells of nothing by itself."""
LOOK_SELDOM: Final = 1 * MINUTES
"""At one that does, for what somebody else told it."""
SHARE: Final = 20
"""A look may take a twentieth of the time: ten thousand peers are a third of a second's work."""


def interfaces_from(first: str = "awg0") -> tuple[str, ...]:
    """Return the interface of the endpoint in use, awg0 to awg9, and those of the endpoints before it."""
    number = int(first.removeprefix("awg"))
    return tuple(f"awg{(number + offset) % 10}" for offset in range(1 + MAX_PREVIOUS))


class Slot(Protocol):
    """One engine on one interface. Each verb raises EngineError — the engine is away, or refused."""

    @property
    def interface(self) -> str:
        """Its name."""
        ...

    @property
    def tells(self) -> bool:
        """It is known to be an engine of ours: it serves any number of endpoints, limits rates, and tells of events."""
        ...

    async def connect(self) -> None:
        """Find out who is there; of what was told before nothing is taken for granted."""
        ...

    async def look(self) -> Sequence[Sighting]:
        """Return the peers that the engine has."""
        ...

    async def tell(self, plan: AwgPlan, link: Link) -> None:
        """Make the engine be a plan, and its interface a link; what is so already is not said."""
        ...

    def open_watch(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Yield the events from now on of an engine that tells."""
        ...


class OutsideAwg:
    """An `AwgDriver` over one engine or several."""

    def __init__(
        self,
        name: str,
        slots: Sequence[Slot],
        *,
        on_event: OnEvent,
        restart: Restart,
        clock: Callable[[], int] = wall_ns,
    ) -> None:
        self.name: Final = name
        self.unserved: tuple[AwgEndpoint, ...] = ()
        """Endpoints of the plan for which there is no engine; never the one in use."""
        self._slots = slots
        self._restart = restart
        self._clock = clock
        self._roster = Roster(len(slots), on_event)
        self._plan: AwgPlan | None = None
        self._met = [False] * len(slots)
        self._ports = [0] * len(slots)
        self._turn = trio.Lock()
        self._backoff = Backoff(random=lambda: 1.0, first=RETRY_FIRST, cap=RETRY_MOST)
        self._following = trio.CancelScope()

    @property
    def port(self) -> int:
        """The UDP port in use, 0 while none is served."""
        return self._ports[0] if self._met[0] else 0

    @property
    def limits_rates(self) -> bool:
        """Whether the peers' rates are kept to; only engines of ours do that."""
        return self._slots[0].tells

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Follow the engine until cancelled, and tell it its plan again whenever it may have lost it.

        Raises: EngineError — no engine has answered within `PATIENCE`.
        """
        up = _Up(task_status)
        begun, said = trio.current_time(), ""
        while True:
            failure: BaseException | None = None
            self._following = trio.CancelScope()
            try:
                with self._following:
                    await self._follow(up)
            except* EngineError as group:
                failure = next(leaves(group))
            self._met = [False] * len(self._slots)
            self._roster.review(now=trio.current_time(), at_ns=self._clock())
            if failure is not None:
                if not up.was and trio.current_time() - begun >= PATIENCE:
                    raise failure
                # At the start of a machine an engine may come a little later than we do.
                level = logging.WARNING if up.was else logging.INFO
                log.log(logging.DEBUG if str(failure) == said else level, "AmneziaWG: %s", failure)
                said = str(failure)
            await trio.sleep(self._backoff.next())

    async def apply(self, plan: AwgPlan, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Make the engines be ``plan``; peers that stay keep their sessions.

        Raises: EngineError — the engine is away or refused; it is told again by itself.
        """
        async with self._turn:
            first, self._plan = self._plan is None, plan
            self._roster.adopt(plan, reasons, at_ns=self._clock())
            if not self._met[0]:
                raise EngineError(f"the engine of {self._slots[0].interface} is away; it is told when it is back")
            told = False
            try:
                if first:
                    # Whose sessions those are that the engine has had since before us is known only now.
                    await self._see(0)
                await self._tell(plan)
                told = True
            finally:
                if not told:
                    # What it is now is not known: it is met anew, and told all that is missing.
                    self._following.cancel()

    async def read_counters(self) -> list[PeerCounters]:
        """Return what was told or seen last of every peer, about a second ago."""
        return self._roster.counters()

    async def restart(self) -> None:
        """Have the first engine begin anew; its sessions end, and it is told its plan as soon as it is back.

        Raises: EngineError — that could not be done.
        """
        await self._restart()

    async def _follow(self, up: _Up) -> None:
        """Raises: EngineError, by itself or in a group — the engine went, or cannot be told its plan."""
        slot = self._slots[0]
        async with self._turn:
            await slot.connect()
        if not slot.tells:
            await self._begin(up)
            await self._look_again(LOOK_EVERY)
        async with slot.open_watch() as events, trio.open_nursery() as nursery:
            # Whatever happens while the state is looked at is told behind it.
            await self._begin(up)
            nursery.start_soon(self._look_again, LOOK_SELDOM)
            async for event in events:
                self._roster.hear(event, now=trio.current_time(), at_ns=self._clock())
            raise EngineError(f"the engine of {slot.interface} has ended, or lost us among its watchers")

    async def _begin(self, up: _Up) -> None:
        async with self._turn:
            await self._see(0)
            self._met[0] = True
            up.once()
            if self._plan is not None:
                await self._tell(self._plan)
            self._backoff.reset()

    async def _look_again(self, every: float) -> NoReturn:
        while True:
            begun = trio.current_time()
            await self._look()
            await trio.sleep(max(every, SHARE * (trio.current_time() - begun)))

    async def _look(self) -> None:
        async with self._turn:
            for index in range(len(self._slots)):
                if self._met[index]:
                    await self._see(index)
            if not self._slots[0].tells:
                self._roster.review(now=trio.current_time(), at_ns=self._clock())
            if self._plan is not None:
                await self._tell(self._plan)

    async def _see(self, index: int) -> None:
        sightings: Sequence[Sighting] = ()
        try:
            sightings = await self._slots[index].look()
        except EngineError:
            if index == 0:
                raise
            self._met[index] = False
        self._roster.see(index, sightings, now=trio.current_time(), at_ns=self._clock())

    async def _tell(self, plan: AwgPlan) -> None:
        parts = self._parts(plan)
        wanted = {endpoint.port for part in parts[:1] for endpoint in part.endpoints}
        for index in range(1, len(parts)):
            if self._met[index] and self._ports[index] in wanted:
                # Two cannot listen there, and the one that moves away is told first.
                await self._tell_spare(index, attrs.evolve(plan, endpoints=()))
        await self._slots[0].tell(parts[0], main_link(plan, self._slots[0].interface))
        self._ports[0] = plan.endpoints[0].port if plan.endpoints else 0
        served = [parts[0]]
        for index, part in enumerate(parts[1:], 1):
            if (part.endpoints or self._met[index]) and await self._tell_spare(index, part):
                served.append(part)
        known = [endpoint for part in served for endpoint in part.endpoints]
        unserved = tuple(endpoint for endpoint in plan.endpoints if endpoint not in known)
        if unserved != self.unserved:
            self.unserved = unserved
            for endpoint in unserved:
                log.warning("AmneziaWG: no engine for the parameters before these, on port %d", endpoint.port)

    async def _tell_spare(self, index: int, plan: AwgPlan) -> bool:
        """Tell a spare engine; whether there is one, and it has done it."""
        slot = self._slots[index]
        try:
            if not self._met[index]:
                await slot.connect()
                self._met[index] = True
                await self._see(index)
            await slot.tell(plan, spare_link(plan, slot.interface, self._roster.connected_at(index)))
        except EngineError as error:
            log.debug("AmneziaWG, %s: %s", slot.interface, error)
            self._met[index] = False
            return False
        self._ports[index] = plan.endpoints[0].port if plan.endpoints else 0
        return True

    def _parts(self, plan: AwgPlan) -> list[AwgPlan]:
        """Return what each engine is to be; an endpoint stays where it is served."""
        if self._slots[0].tells:
            return [plan, *(attrs.evolve(plan, endpoints=()) for _ in self._slots[1:])]
        chosen: list[tuple[AwgEndpoint, ...]] = [plan.endpoints[:1], *(() for _ in self._slots[1:])]
        left = list(plan.endpoints[1:])
        for index in range(1, len(self._slots)):
            for endpoint in left:
                if endpoint.port == self._ports[index]:
                    chosen[index] = (endpoint,)
                    left.remove(endpoint)
                    break
        for index in range(1, len(self._slots)):
            if left and not chosen[index]:
                chosen[index] = (left.pop(0),)
        return [attrs.evolve(plan, endpoints=endpoints) for endpoints in chosen]


@attrs.define
class _Up:
    """Says once that the engine can be told a plan."""

    task_status: trio.TaskStatus[None]
    was: bool = False

    def once(self) -> None:
        if not self.was:
            self.was = True
            self.task_status.started()
