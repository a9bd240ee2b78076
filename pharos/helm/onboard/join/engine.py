"""Carrying the steps out, or taking them back; told to whoever listens as it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager

import attrs
import trio

from pharos.helm.onboard.join.desk import Desk
from pharos.helm.onboard.join.errors import as_step_error
from pharos.helm.onboard.join.events import (
    Emit,
    Joined,
    Planned,
    StepBegun,
    StepDone,
    StepFailed,
    StepId,
    StepUndone,
    Stopped,
)
from pharos.helm.onboard.join.looking import look
from pharos.helm.onboard.join.site import Site
from pharos.helm.onboard.join.steps import STEPS, plan
from pharos.helm.onboard.join.traces import read_traces
from pharos.helm.onboard.join.wish import Wish
from pharos.helm.onboard.remote import Remote
from pharos.wire.errors import WireError

OpenRemote = Callable[[], AbstractAsyncContextManager[Remote]]
"""Connects; what it has to ask, it asks by itself."""


async def join(wish: Wish, desk: Desk, open_remote: OpenRemote, emit: Emit) -> Joined:
    """Make a machine a member, from wherever an earlier try has come to.

    Raises: StepError — a step did not come to its end, which is told, too. Cancelled, what is done stays done.
    """
    began = trio.current_time()
    async with _open_site(wish, desk, open_remote, emit) as site:
        for step in STEPS:
            site.step = step.id
            at = trio.current_time()
            emit(StepBegun(step=step.id, says=step.says))
            with _failures(emit, site.step, at):
                outcome = await step.do(site)
            emit(StepDone(step=step.id, says=outcome.says, changed=outcome.changed, seconds=trio.current_time() - at))
        with _failures(emit, site.step, at):
            await site.trace.remove()
        members = {part.agent.noun: adopted.id for part, adopted in site.adopted.items()}
        joined = Joined(members=members, seconds=trio.current_time() - began)
        emit(joined)
        return joined


async def rehearse(wish: Wish, desk: Desk, open_remote: OpenRemote, emit: Emit) -> list[Planned]:
    """Tell what would be done, and change nothing on the machine or in the record.

    Raises: StepError — it will not do, or does not answer.
    """
    async with _open_site(wish, desk, open_remote, emit) as site:
        site.step = StepId.LOOK
        emit(StepBegun(step=StepId.LOOK, says=STEPS[0].says))
        at = trio.current_time()
        with _failures(emit, site.step, at):
            outcome = await look(site, changes=False)
        emit(StepDone(step=StepId.LOOK, says=outcome.says, changed=False, seconds=trio.current_time() - at))
        planned = plan(site)
        for each in planned:
            emit(each)
        return planned


async def undo(wish: Wish, desk: Desk, open_remote: OpenRemote, emit: Emit) -> bool:
    """Take back what an onboarding that is not over has done, last things first; tell whether there was anything.

    Raises: StepError — a step cannot be taken back now; the same again goes on from there.
    """
    async with _open_site(wish, desk, open_remote, emit) as site:
        site.step, at = StepId.LOOK, trio.current_time()
        with _failures(emit, site.step, at):
            site.traces = await read_traces(site.remote)
            site.wish = attrs.evolve(wish, name=site.traces.name)
        found = bool(site.traces.folder)
        for step in reversed(STEPS) if found else ():
            if step.undo is None:
                continue
            site.step, at = step.id, trio.current_time()
            with _failures(emit, site.step, at):
                says = await step.undo(site)
            if says:
                emit(StepUndone(step=step.id, says=says))
        if found:
            with _failures(emit, site.step, at):
                await site.traces.remove()
            emit(Stopped(undone=True))
        return found


@asynccontextmanager
async def _open_site(wish: Wish, desk: Desk, open_remote: OpenRemote, emit: Emit) -> AsyncIterator[Site]:
    at = trio.current_time()
    says = f"connect to {wish.destination}"
    emit(StepBegun(step=StepId.CONNECT, says=says))
    async with AsyncExitStack() as stack:
        with _failures(emit, StepId.CONNECT, at):
            remote = await stack.enter_async_context(open_remote())
        who = f"{wish.destination} has the host key {remote.host_key}"
        emit(StepDone(step=StepId.CONNECT, says=who, changed=False, seconds=trio.current_time() - at))
        yield Site(remote=remote, desk=desk, wish=wish, emit=emit)


@contextmanager
def _failures(emit: Emit, step: StepId, at: float) -> Iterator[None]:
    """Tell of what goes wrong in the block.

    Raises: StepError — it did.
    """
    try:
        yield
    except (WireError, OSError) as error:
        failed = as_step_error(error)
        emit(StepFailed(step=step, says=failed.why, way=failed.way, seconds=trio.current_time() - at))
        if failed is error:
            raise
        raise failed from error
