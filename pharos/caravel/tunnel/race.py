"""A race over ways to nodes: the first whose node lets us in wins, and the others are closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs
import trio

from pharos.caravel.events import Event, Failed, Trying
from pharos.caravel.tunnel.holding import LEG_ERRORS, Held, Unopened, hold
from pharos.caravel.tunnel.parts import Candidate, Inner
from pharos.caravel.tunnel.select import ATTEMPT_TIMEOUT, MAX_AT_ONCE, Start

Tell: TypeAlias = Callable[[Event], None]


@attrs.define(kw_only=True)
class Outcome:
    """What became of a race."""

    winner: Held | None = None
    """Open, and its receiver's to drop."""
    seconds: float = 0.0
    """That the winner took since it was dialled."""
    is_found: bool = False
    """The node that was lost is there again, before anybody else was."""
    failures: list[tuple[Candidate, Exception]] = attrs.field(factory=list)
    behind: dict[tuple[str, str], float] = attrs.field(factory=dict)
    """Since when those were dialled that were not up when the race was over; by node and protocol, in Trio's time."""


class Race:
    """One race; ``legs`` is where the tasks of the legs live, the winner's longer than the race."""

    def __init__(self, starts: Sequence[Start], inner: Inner, *, legs: trio.Nursery, tell: Tell) -> None:
        self._starts = starts
        self._inner = inner
        self._legs = legs
        self._tell = tell
        self._outcome = Outcome()
        self._running = 0
        self._nobody_runs = trio.Event()
        self._slots = trio.Semaphore(MAX_AT_ONCE)

    async def run(self, lost: Held | None = None, *, patience: float = 0.0) -> Outcome:
        """Race to the end; ``lost`` may win as well, by being found again.

        With nobody else in the race, it is waited for for ``patience`` seconds.
        """
        try:
            async with trio.open_nursery() as nursery:
                if lost is not None:
                    nursery.start_soon(self._find, lost, nursery)
                await self._start_all(nursery)
                if not self._starts:
                    await trio.sleep(patience)
                nursery.start_soon(self._end, nursery)
        except BaseException:
            # The caller's own cancellation may come together with the victory.
            if self._outcome.winner is not None:
                self._outcome.winner.drop()
            raise
        return self._outcome

    async def _start_all(self, nursery: trio.Nursery) -> None:
        begun = trio.current_time()
        for start in self._starts:
            # Where all before it have failed there is nothing to wait for.
            with trio.move_on_at(begun + start.after):
                if self._running or start is self._starts[0]:
                    self._nobody_runs = trio.Event()
                    await self._nobody_runs.wait()
            await self._slots.acquire()
            self._running += 1
            nursery.start_soon(self._attempt, start.candidate, nursery)

    async def _end(self, nursery: trio.Nursery) -> None:
        """End the race when nobody runs any more, whoever else is waited for."""
        while self._running:
            self._nobody_runs = trio.Event()
            await self._nobody_runs.wait()
        nursery.cancel_scope.cancel()

    async def _find(self, lost: Held, nursery: trio.Nursery) -> None:
        await lost.leg.wait_found()
        if self._outcome.winner is None:
            self._outcome.is_found = True
            nursery.cancel_scope.cancel()

    async def _attempt(self, candidate: Candidate, nursery: trio.Nursery) -> None:
        try:
            self._outcome.behind[candidate.node, candidate.protocol] = trio.current_time()
            error = await self._run_attempt(candidate, nursery)
            if error is not None:
                del self._outcome.behind[candidate.node, candidate.protocol]
                self._outcome.failures.append((candidate, error))
                self._tell(
                    Failed(node=candidate.node, name=candidate.name, protocol=candidate.protocol, why=str(error))
                )
        finally:
            self._running -= 1
            self._slots.release()
            if not self._running:
                self._nobody_runs.set()

    async def _run_attempt(self, candidate: Candidate, nursery: trio.Nursery) -> Exception | None:
        self._tell(Trying(node=candidate.node, name=candidate.name, protocol=candidate.protocol))
        begun = trio.current_time()
        held = await self._legs.start(hold, candidate, self._inner)
        if isinstance(held, Unopened):
            return held.error
        try:
            await held.leg.wait_up(ATTEMPT_TIMEOUT)
        except LEG_ERRORS as error:
            held.drop()
            return error
        except BaseException:
            held.drop()
            raise
        if self._outcome.winner is not None or self._outcome.is_found:
            # Both were done in the same turn of the event loop.
            held.drop()
            return None
        self._outcome.winner, self._outcome.seconds = held, trio.current_time() - begun
        del self._outcome.behind[candidate.node, candidate.protocol]
        nursery.cancel_scope.cancel()
        return None
