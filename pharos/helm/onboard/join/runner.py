"""Onboardings that helm itself carries out, for a page: each is a task, a record, and events to follow."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from pharos.helm.ca.live import LiveAuthority
from pharos.helm.errors import BusyError, ConflictError
from pharos.helm.live.board import Board, now_us
from pharos.helm.model.admins import Principal
from pharos.helm.model.onboardings import AT_WORK, Onboarding, OnboardingState
from pharos.helm.onboard.errors import OnboardError
from pharos.helm.onboard.join.answers import Question, open_by_page
from pharos.helm.onboard.join.desk import Desk
from pharos.helm.onboard.join.engine import OpenRemote, join, rehearse, undo
from pharos.helm.onboard.join.events import (
    Asked,
    Emit,
    Event,
    Joined,
    Rehearsed,
    StepBegun,
    StepFailed,
    StepId,
    StepProgress,
    Stopped,
)
from pharos.helm.onboard.join.inside import ServiceDesk
from pharos.helm.onboard.join.wish import Wish
from pharos.helm.onboard.ssh.keys import SshKeys
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.helm.store.onboardings import ONBOARDINGS, onboardings_at_work
from pharos.helm.store.records import change_record, get_record
from pharos.wire.errors import WireError
from pharos.wire.world import in_thread

log = logging.getLogger(__name__)

MAX_AT_ONCE: Final = 8
"""Each holds a process of ssh, and helm's host is small."""
MAX_KEPT: Final = 64
"""Whose events can still be read; each has some hundred."""

Work = Callable[[Wish, Desk, OpenRemote, Emit], Awaitable[Any]]
Connect = Callable[[Path, "Live"], OpenRemote]
"""``connect(state, live)``"""


@attrs.define(eq=False, kw_only=True)
class Live:
    """One of them, in this process."""

    id: str
    wish: Wish
    who: Principal
    undoes: bool
    rehearses: bool = False
    events: list[Event] = attrs.field(factory=list)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    question: Question = attrs.field(factory=Question)
    over: bool = False
    ended: trio.Event = attrs.field(factory=trio.Event)
    """The record says so, too."""
    news: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, event: Event) -> None:
        """Add an event; of an upload the newest is enough."""
        last = self.events[-1] if self.events else None
        if isinstance(event, StepProgress) and isinstance(last, StepProgress) and event.says == last.says:
            self.events[-1] = event
        else:
            self.events.append(event)
        self.wake()

    def wake(self) -> None:
        """There is something new."""
        self.news.set()
        self.news = trio.Event()

    async def follow(self) -> AsyncIterator[Event]:
        """Yield every event, from the first on, and end with the last."""
        seen = 0
        shown: Event | None = None
        while True:
            news, over = self.news, self.over
            while seen < len(self.events):
                shown = self.events[seen]
                seen += 1
                yield shown
            if seen and self.events[seen - 1] is not shown:
                # It was replaced by a newer one of its kind.
                seen -= 1
                continue
            if over:
                return
            await news.wait()


class Onboardings:
    """All of a helm's; ``run`` is their task."""

    def __init__(self, connect: Connect | None = None) -> None:
        self._connect: Final = connect or _connect
        self._live: Final[dict[str, Live]] = {}
        self._jobs, self._received = trio.open_memory_channel[tuple[Live, Work]](MAX_AT_ONCE)
        self._state: Path | None = None

    def find(self, onboarding_id: str) -> Live | None:
        """Return one of this process."""
        return self._live.get(onboarding_id)

    def check_room(self, destination: str) -> None:
        """See that one more may begin.

        Raises: ConflictError — helm does not run, or somebody is at this machine. BusyError — many are at work.
        """
        if self._state is None:
            raise ConflictError("helm does not run: helm nodes add does the same from here, or start it (helm run)")
        at_work = [live for live in self._live.values() if not live.over]
        if any(str(live.wish.destination) == destination for live in at_work):
            raise ConflictError(f"an onboarding of {destination} is at work already")
        if len(at_work) >= MAX_AT_ONCE:
            raise BusyError(f"{MAX_AT_ONCE} onboardings are at work; try again when one has ended")

    def begin(
        self, onboarding_id: str, wish: Wish, who: Principal, *, undoes: bool = False, rehearses: bool = False
    ) -> Live:
        """Begin one whose record is written. Raises: as ``check_room``."""
        self.check_room(str(wish.destination))
        live = Live(id=onboarding_id, wish=wish, who=who, undoes=undoes, rehearses=rehearses)
        self._live[onboarding_id] = live
        for old in [each.id for each in self._live.values() if each.over][:-MAX_KEPT]:
            del self._live[old]
        self._jobs.send_nowait((live, undo if undoes else rehearse if rehearses else join))
        return live

    async def public_line(self) -> str:
        """Return helm's own SSH key as authorized_keys wants it, made now if there is none. Raises: ConflictError."""
        if self._state is None:
            raise ConflictError("helm does not run: helm ssh-key shows it, too")
        state = self._state
        return await in_thread(lambda: SshKeys.open_keys(state).make())

    async def run(
        self,
        store: Store,
        authorities: LiveAuthority,
        board: Board,
        state: Path,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Carry them out until cancelled; ``state`` is helm's directory, where host keys are pinned."""
        await store.run(_end_those_of_before)
        async with trio.open_nursery() as nursery:
            self._state = state
            task_status.started()
            try:
                async for live, work in self._received:
                    desk = ServiceDesk(store=store, authorities=authorities, board=board, who=live.who)
                    nursery.start_soon(self._carry, desk, live, work)
            finally:
                self._state = None

    async def _carry(self, desk: ServiceDesk, live: Live, work: Work) -> None:
        try:
            await self._work(desk, live, work)
        finally:
            live.ended.set()

    async def _work(self, desk: ServiceDesk, live: Live, work: Work) -> None:
        assert self._state is not None, "it runs"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_write_down, desk.store, live)
            try:
                with live.scope:
                    try:
                        done = await work(live.wish, desk, self._connect(self._state, live), live.tell)
                        if live.undoes and not done:
                            # It has never come as far as to leave anything there.
                            live.tell(Stopped(undone=True))
                        elif live.rehearses:
                            live.tell(Rehearsed(changes=sum(planned.changes for planned in done)))
                    except* OnboardError:
                        # It has been told.
                        pass
                    except* WireError as group:
                        why = str(group.exceptions[0])
                        live.tell(StepFailed(step=StepId.CONNECT, says=why, way="", seconds=0.0))
                if live.scope.cancelled_caught:
                    live.tell(Stopped(undone=False))
            # A machine's answers may end its own onboarding, and nothing else (style 15).
            except Exception:
                log.exception("onboarding of %s", live.wish.destination)
                live.tell(StepFailed(step=_step_of(live), says="helm failed; its log says how", way="", seconds=0.0))
            finally:
                live.over = True
                live.wake()


def _connect(state: Path, live: Live) -> OpenRemote:
    return open_by_page(state, live.wish.destination, live.question, live.tell)


def _step_of(live: Live) -> StepId:
    return next((each.step for each in reversed(live.events) if isinstance(each, StepBegun)), StepId.CONNECT)


async def _write_down(store: Store, live: Live) -> None:
    """Bring the record behind the events; those who follow the feed see it change."""
    async for event in live.follow():
        changes = _changes(event, live)
        if changes:
            try:
                await store.run(_change, live.id, changes, live.who)
            except BusyError as error:
                # The next event says more; and after the last one the next start of helm does.
                log.warning("onboarding of %s: the record is behind: %s", live.wish.destination, error)


def _changes(event: Event, live: Live) -> dict[str, Any]:
    match event:
        case StepBegun():
            state = OnboardingState.UNDOING if live.undoes else OnboardingState.RUNNING
            return {"step": event.step.value, "state": state, "asks": "", "ended_at": None}
        case Asked(what="host_key"):
            return {"state": OnboardingState.WAITING, "asks": "host_key", "host_key": event.says}
        case Asked():
            return {"state": OnboardingState.WAITING, "asks": event.says}
        case StepFailed():
            said = {"text": f"{event.says.rstrip('.')}. {event.way}".strip(), "asks": "", "ended_at": now_us()}
            return said | {"state": OnboardingState.FAILED, "step": event.step.value}
        case Joined():
            return {"state": OnboardingState.JOINED, "text": "", "asks": "", "ended_at": now_us()}
        case Rehearsed():
            return {"state": OnboardingState.REHEARSED, "text": "", "asks": "", "ended_at": now_us()}
        case Stopped():
            state = OnboardingState.UNDONE if event.undone else OnboardingState.STOPPED
            return {"state": state, "text": "", "asks": "", "ended_at": now_us()}
        case _:
            return {}


def _change(db: Database, onboarding_id: str, changes: dict[str, Any], who: Principal) -> Onboarding:
    version = get_record(db, ONBOARDINGS, onboarding_id).version
    act = Act(actor=who.name, at=now_us(), via=who.via.value)
    verb = changes["state"].value if changes["state"] not in AT_WORK else "changed"
    return change_record(db, ONBOARDINGS, onboarding_id, version, changes, act, verb=verb)


def _end_those_of_before(db: Database) -> None:
    act = Act(actor="helm", at=now_us(), via="helm")
    for onboarding in onboardings_at_work(db):
        changes = {
            "state": OnboardingState.STOPPED,
            "text": "helm ended meanwhile; begin it again, and it goes on from there",
            "asks": "",
            "ended_at": act.at,
        }
        change_record(db, ONBOARDINGS, onboarding.id, onboarding.version, changes, act, verb="stopped")
