"""Which leg carries a connection now: it is found, watched over, replaced when it is lost, and moved when it should be.

One task decides. What happens meanwhile (another network, a newer profile, somebody who wants another node) is noted,
and looked at where the task waits: there it knows what stands.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import trio

from pharos.caravel.events import (
    Connected,
    Lost,
    NodeUnknown,
    Phase,
    PhaseChanged,
    ProfileChanged,
    Rebound,
)
from pharos.caravel.tunnel.candidates import Source
from pharos.caravel.tunnel.choosing import Choosing
from pharos.caravel.tunnel.holding import Held
from pharos.caravel.tunnel.memory import NetworkMemory
from pharos.caravel.tunnel.network import Vantage, look_around, open_network_watch
from pharos.caravel.tunnel.news import News, Newsstand, Switch
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.parts import Candidate, Inner, Protect
from pharos.caravel.tunnel.portals import Portals
from pharos.caravel.tunnel.race import Outcome, Race
from pharos.caravel.tunnel.select import key_of, plan_race
from pharos.caravel.tunnel.watching import Watches
from pharos.wire.chance import fraction
from pharos.wire.errors import LinkRefusedError, WireError
from pharos.wire.link import Backoff
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY
from pharos.wire.reality.errors import RealCertificateError
from pharos.wire.units import MINUTES, SECONDS
from pharos.wire.world import slept, wall_seconds

log = logging.getLogger(__name__)

FOUND_PATIENCE: Final = 6 * SECONDS
"""For the one node there is to be found again by the leg that lost it: an initiation is repeated after 5 s."""
MOVE_TIMEOUT: Final = 2 * SECONDS
"""To take the inner side from one leg and give it to another, which is the work of a moment."""
DRAIN: Final = 1 * SECONDS
"""For what is still on its way through a leg that was replaced."""
LEAST_PAUSE: Final = 0.5 * SECONDS
PORTAL_EVERY: Final = 5 * SECONDS
"""Somebody is logging in, and waits to be let through."""
OFFLINE_LOOK: Final = 30 * SECONDS
"""At a network that is not there as far as this machine can see, which might be wrong."""
IMPROVE_EVERY: Final = 10 * MINUTES
"""A REALITY that carries because UDP was blocked is given up where AmneziaWG has come to work, if nobody minds."""
IMPROVE_TIMEOUT: Final = 3 * SECONDS
BEHIND: Final = 1 * SECONDS
"""A way that was dialled for so long when another won is remembered to have failed on this network."""


class Steering:
    """Steers one connection; `serve` is its task."""

    def __init__(
        self,
        source: Source,
        inner: Inner,
        *,
        wanted: str | None = None,
        protocol: str | None = None,
        options: ConnectOptions,
        protect: Protect | None = None,
        memory: NetworkMemory | None = None,
        look: Callable[[Sequence[str]], Vantage] | None = None,
        wall: Callable[[], float] = wall_seconds,
        sleeps: Callable[[], float] = slept,
    ) -> None:
        self.phase = Phase.CONNECTING
        self.detail = ""
        self.held: Held | None = None
        """The leg that carries, or did until it was lost."""
        self.since: float | None = None
        self.watches = Watches()
        self.changed = trio.lowlevel.ParkingLot()
        """Unparked at every change of the phase."""
        self.failures: list[tuple[Candidate, Exception]] = []
        """Of the last race that nobody won."""
        self.passed = 0, 0
        """Octets received and sent by legs that are gone."""
        self.choosing = Choosing(source, wanted=wanted, protocol=protocol, floor=options.floor)
        self._options = options
        self._inner = inner
        self._memory = memory or NetworkMemory()
        self._look_from = look or functools.partial(look_around, protect=protect)
        self._wall = wall
        self._sleeps = sleeps
        self._portals = Portals(options, protect, self.watches)
        self.news = Newsstand()
        self._switch: Switch | None = None
        """The last that somebody asked for."""
        self._asked: frozenset[str] = frozenset()
        self._legs: trio.Nursery

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Keep the connection up until cancelled.

        Raises: TunGoneError — the inner side was a TUN interface and is no more.
        """
        async with (
            trio.open_nursery() as self._legs,
            open_network_watch(self._look, self.news.tell_network, clock=self._sleeps),
        ):
            task_status.started()
            lost: Held | None = None
            while True:
                held = await self._find(lost)
                lost = await self._stay(held)
        raise AssertionError("it ends by cancellation only")

    # Finding a leg

    async def _find(self, lost: Held | None) -> Held:
        """Return a leg that is up and carries; ``lost`` may be found again."""
        backoff = Backoff(random=fraction)
        rounds = 0
        if self.phase is Phase.UP:
            self._set_phase(Phase.SWITCHING, self.detail)
        while True:
            news = self._take_news()
            if news.network:
                backoff.reset()
                if lost is not None:
                    await self._rebind(lost, news.network)
            if lost is not None and rounds > 0:
                # What it could find by itself it has had time to.
                self._let_go(lost)
                lost = None
            lost = await self._read_anew(lost)
            candidates = self.choosing.known if news.switch is None else news.switch.candidates
            if lost is not None and news.switch is None:
                candidates = tuple(one for one in candidates if key_of(one) != key_of(lost.candidate))
            outcome = await self._race(candidates, lost)
            if news.switch is not None:
                self._answer(news.switch, outcome)
            if outcome is None:
                continue
            if outcome.is_found and lost is not None:
                self._set_up(lost)
                return lost
            if outcome.winner is not None and await self._move(outcome.winner, lost):
                self._note_won(outcome, outcome.winner)
                self._set_up(outcome.winner, seconds=outcome.seconds)
                return outcome.winner
            rounds += 1
            self.failures = outcome.failures or self.failures
            await self._pause(backoff)

    async def _race(self, candidates: Sequence[Candidate], lost: Held | None) -> Outcome | None:
        """Race; None if that was interrupted by what has to be looked at first."""
        starts = plan_race(candidates, self._memory.of(self._look().key), self._wall())
        race = Race(starts, self._inner, legs=self._legs, tell=self.watches.tell)
        outcome: Outcome | None = None
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                nonlocal outcome
                outcome = await race.run(lost, patience=FOUND_PATIENCE if lost is not None else 0.0)
                nursery.cancel_scope.cancel()

            await self.news.pressed.wait()
            nursery.cancel_scope.cancel()
        return outcome

    async def _move(self, new: Held, old: Held | None) -> bool:
        """Have another leg carry; False if it has ended meanwhile."""
        if old is not None:
            with trio.move_on_after(MOVE_TIMEOUT) as patience:
                await old.leg.retire()
            if patience.cancelled_caught:
                old.drop()
                await old.over.wait()
        with trio.move_on_after(MOVE_TIMEOUT) as patience:
            await new.leg.carry()
        if old is not None:
            self._count(old)
            self._legs.start_soon(self._drain, old)
        if patience.cancelled_caught:
            new.drop()
        return not patience.cancelled_caught

    async def _drain(self, old: Held) -> None:
        await trio.sleep(DRAIN)
        old.drop()

    def _let_go(self, old: Held) -> None:
        self._count(old)
        old.drop()

    def _count(self, old: Held) -> None:
        if not old.is_counted:
            old.is_counted = True
            traffic = old.leg.traffic()
            self.passed = self.passed[0] + traffic.received, self.passed[1] + traffic.sent

    def _note_won(self, outcome: Outcome, winner: Held) -> None:
        network, now = self._look().key, self._wall()
        self._memory.note_worked(network, key_of(winner.candidate), now, outcome.seconds)
        begun = trio.current_time()
        failed = {key_of(one) for one, _ in outcome.failures}
        failed |= {key for key, since in outcome.behind.items() if begun - since >= BEHIND}
        if failed:
            self._memory.note_failed(network, failed, now)

    def _set_up(self, held: Held, *, seconds: float = 0.0) -> None:
        candidate = held.candidate
        self.held, self.since, self.failures = held, self._wall(), []
        self._portals.end()
        self.watches.tell(
            Connected(node=candidate.node, name=candidate.name, protocol=candidate.protocol, seconds=seconds)
        )
        self._set_phase(Phase.UP)

    # While a leg is up

    async def _stay(self, held: Held) -> Held | None:
        """Return once the leg is lost: the leg itself if it may still be found again."""
        while True:
            why = await self._wait_something(held)
            if why is not None:
                return self._lose(held, why)
            news = self._take_news()
            if news.profile and not await self._follow_profile(held):
                return self._lose(held, "the profile does not have it any more", drop=True)
            if news.network:
                await self._go_on(held, news.network)
            moved = await self._try_others(held, news)
            if moved is not None:
                held = moved

    async def _wait_something(self, held: Held) -> str | None:
        """Return why the leg is lost; None if there is news, or time to look for a better one."""
        why: str | None = None
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                nonlocal why
                why = await held.leg.wait_lost()
                nursery.cancel_scope.cancel()

            @nursery.start_soon
            async def _() -> None:
                nonlocal why
                await held.over.wait()
                why = held.why or "it has ended"
                nursery.cancel_scope.cancel()

            with trio.move_on_after(IMPROVE_EVERY):
                await self.news.told.wait()
            nursery.cancel_scope.cancel()
        return why

    def _lose(self, held: Held, why: str, *, drop: bool = False) -> Held | None:
        candidate = held.candidate
        log.info("node %s is lost: %s", candidate.name, why)
        self.since = None
        self.watches.tell(Lost(node=candidate.node, name=candidate.name, protocol=candidate.protocol, why=why))
        self._set_phase(Phase.SWITCHING, f"{candidate.name}: {why}")
        if drop or held.over.is_set():
            self._let_go(held)
            return None
        return held

    async def _go_on(self, held: Held, why: str) -> None:
        """Go on from another network, or after a sleep."""
        if not self._look().is_online:
            self._set_phase(Phase.OFFLINE, why)
            return
        await self._rebind(held, why)
        if self.phase is Phase.OFFLINE:
            self._set_phase(Phase.UP)

    async def _rebind(self, held: Held, why: str) -> None:
        if self._look().is_online and not held.over.is_set():
            with trio.move_on_after(MOVE_TIMEOUT):
                await held.leg.rebind()
                self.watches.tell(Rebound(why=why))

    async def _try_others(self, held: Held, news: News) -> Held | None:
        """Go to another node that somebody wants, or from REALITY to AmneziaWG where that has come to work."""
        if news.switch is not None:
            outcome = await self._race(news.switch.candidates, None)
            moved = await self._take(outcome, held)
            self._answer(news.switch, outcome if moved is not None else None)
            return moved
        if held.candidate.protocol != VLESS_REALITY or news.profile or (not news.network and self._is_used(held)):
            return None
        better = [one for one in self.choosing.known if one.protocol == AMNEZIAWG]
        outcome = None
        if better:
            with trio.move_on_after(IMPROVE_TIMEOUT):
                outcome = await self._race(better, None)
        return await self._take(outcome, held)

    async def _take(self, outcome: Outcome | None, old: Held) -> Held | None:
        if outcome is None or outcome.winner is None or not await self._move(outcome.winner, old):
            return None
        self._note_won(outcome, outcome.winner)
        self._set_up(outcome.winner, seconds=outcome.seconds)
        return outcome.winner

    @staticmethod
    def _is_used(held: Held) -> bool:
        heard_at = held.leg.traffic().heard_at
        return heard_at is not None and trio.current_time() - heard_at < MINUTES

    def _take_news(self) -> News:
        news = self.news.take()
        self._switch = news.switch or self._switch
        return news

    def _answer(self, switch: Switch, outcome: Outcome | None) -> None:
        switch.failures = [] if outcome is None else outcome.failures
        switch.is_there = outcome is not None and outcome.winner is not None
        if switch.is_there and self.choosing.wanted is not None:
            self.choosing.wanted = switch.wanted
        switch.done.set()

    # What there is to choose from

    async def _follow_profile(self, held: Held) -> bool:
        """Take over what a newer profile says; False if the node is not in it any more, or has another key."""
        self._read()
        now = self.choosing.now(held.candidate)
        return now is not None and await held.leg.adopt(now)

    async def _read_anew(self, lost: Held | None) -> Held | None:
        """Read the choices, and have a leg that was lost go by them; return it if it is one of them."""
        self._read()
        if lost is None:
            return None
        now = self.choosing.now(lost.candidate)
        if now is None or lost.over.is_set() or not await lost.leg.adopt(now):
            self._let_go(lost)
            return None
        return lost

    def _read(self) -> None:
        order = self.choosing.read()
        if order is not None:
            self.watches.tell(ProfileChanged(epoch=order[0], revision=order[1]))

    # Where nothing leads in

    async def _pause(self, backoff: Backoff) -> None:
        """Find out why nothing leads in, and wait before the next race."""
        if not self._look().is_online:
            self._set_phase(Phase.OFFLINE, "this machine has no network")
            await self._wait_told(OFFLINE_LOOK)
            return
        refused = any(isinstance(error, LinkRefusedError) for _, error in self.failures)
        # A node that says no was reached.
        portal = None if refused else await self._portals.look(self.choosing.hosts(numeric=False))
        if portal is not None:
            self._set_phase(Phase.CAPTIVE, portal or "this network wants to be logged in to")
            await self._wait_told(PORTAL_EVERY)
            return
        self._ask_for_newcomers()
        self._set_phase(Phase.WAITING, self.why_not())
        await self._wait_told(max(LEAST_PAUSE, backoff.next()))

    async def _wait_told(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.news.told.wait()

    def why_not(self) -> str:
        """Return what the last race came to, in one line."""
        if not self.failures:
            return self.choosing.trouble or self.detail
        return "; ".join(f"{one.name} ({one.protocol}): {error}" for one, error in self.failures[:3])

    def _ask_for_newcomers(self) -> None:
        names = self.choosing.newcomers
        if not names or self._asked >= set(names):
            return
        self._asked |= set(names)
        self.watches.tell(NodeUnknown(names=names))
        if self._options.confirm is not None:
            self._legs.start_soon(self._confirm, names)

    async def _confirm(self, names: tuple[str, ...]) -> None:
        assert self._options.confirm is not None
        if await self._options.confirm(names):
            self.choosing.source.accept(names)
            self.news.tell_profile()

    # What is seen

    def _look(self) -> Vantage:
        return self._look_from(self.choosing.hosts())

    def _set_phase(self, phase: Phase, detail: str = "") -> None:
        if (phase, detail) == (self.phase, self.detail):
            return
        self.phase, self.detail = phase, detail
        self.watches.tell(PhaseChanged(phase=phase, detail=detail))
        self.changed.unpark_all()

    def end(self) -> None:
        """Say that it is over."""
        self.since = None
        for switch in (self._switch, self.news.take().switch):
            if switch is not None:
                switch.done.set()
        self._set_phase(Phase.DOWN)
        self._portals.end()
        self.watches.close()
        self.changed.unpark_all()

    @property
    def verdict(self) -> type[WireError] | None:
        """What kind of error tells best why nothing leads in, where a node has said so itself."""
        for kind in (RealCertificateError, LinkRefusedError):
            if any(isinstance(error, kind) for _, error in self.failures):
                return kind
        return None
