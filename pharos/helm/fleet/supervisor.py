"""One supervised task per node and relay of the record; they come and go with their rows."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, NoReturn

import attrs
import trio

from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import Board
from pharos.helm.model.nodes import LINKED, PUSHED, Node
from pharos.helm.model.relays import TUNNELLED, Relay
from pharos.helm.store.database import Database, Store
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.outbox import last_sequence
from pharos.helm.store.relays import list_relays
from pharos.wire.chance import fraction
from pharos.wire.errors import LinkRefusedError
from pharos.wire.link import DELAY_CAP, Backoff, Link, LinkState, run_link
from pharos.wire.units import SECONDS

Member = Node | Relay
Dial = Callable[[], AbstractAsyncContextManager[Link]]

# security.md §3: after a start or a wake every member is dialled at once, but no more than so many have a handshake in
# progress: it is a fourth of a helm's core and half a second of patience of a node.
DIALS: Final = 64
# security.md §3: what was cut off is as it shall be 10 s after the line has healed. Each dial in vain costs half a
# millisecond and a line in the log, so for a large fleet, cut off as a whole, there are no more than so many a second.
DIALS_IN_VAIN: Final = 64.0
SHORTEST_CAP: Final = 6 * SECONDS


def dial_cap(members: int) -> float:
    """Return the seconds that a member waits at most from one dial in vain to the next, in a fleet of so many."""
    # With full jitter a wait is half of its bound on average.
    return min(DELAY_CAP, max(SHORTEST_CAP, 2 * members / DIALS_IN_VAIN))


@attrs.define
class _Task:
    member: Member
    scope: trio.CancelScope
    backoff: Backoff
    attempt: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Of the link as it stands, or of the wait for the next dial."""
    refused: bool = False


async def run_supervisor(
    store: Store,
    board: Board,
    *,
    dial_node: Callable[[Node], AbstractAsyncContextManager[Link]],
    dial_relay: Callable[[Relay], AbstractAsyncContextManager[Link]],
    wakes: Wakes | None = None,
) -> NoReturn:
    """Keep one link task per node and relay that shall be reached, until cancelled; all anew after each of ``wakes``.

    A member that has to be dialled otherwise than before is dialled anew; a refused link gets its next chance by any
    change of its record, which is an operator's act.
    """
    tasks: dict[str, _Task] = {}
    pace = trio.CapacityLimiter(DIALS)
    async with trio.open_nursery() as link_nursery:
        if wakes is not None:
            link_nursery.start_soon(_redial_after_wakes, wakes, tasks)
        seen = -1
        while True:
            commits = store.commits
            seen, members, pushed = await store.read(_changed_members, seen)
            if members is None:
                await store.wait_commit(commits)
                continue
            for gone in tasks.keys() - members.keys():
                tasks.pop(gone).scope.cancel()
                board.forget(gone)
            for member_id, member in members.items():
                known = tasks.get(member_id)
                if known is not None and (
                    known.member == member if known.refused else _dialled_by(known.member) == _dialled_by(member)
                ):
                    known.member = member
                    if member_id in pushed:
                        # Somebody asked for it: the next link begins by reading what the node holds.
                        known.attempt.cancel()
                    continue
                if known is not None:
                    known.scope.cancel()
                dial: Dial = (
                    functools.partial(dial_node, member)
                    if isinstance(member, Node)
                    else functools.partial(dial_relay, member)
                )
                backoff = Backoff(random=fraction, cap=dial_cap(len(members)))
                tasks[member_id] = task = _Task(member, trio.CancelScope(), backoff)
                link_nursery.start_soon(_keep_link, task, functools.partial(_paced, pace, dial), board)
            await store.wait_commit(commits)


async def _keep_link(task: _Task, dial: Callable[[], AbstractAsyncContextManager[Link]], board: Board) -> None:
    member = task.member

    def report(state: LinkState, detail: str) -> None:
        # What a link says while it is being cut is only that it was cut, and its member may be forgotten already.
        if not task.scope.cancel_called and not task.attempt.cancel_called:
            board.report(member.id, member.name, state, detail)

    with task.scope:
        while True:
            task.attempt = trio.CancelScope()
            try:
                with task.attempt:
                    await run_link(
                        dial,
                        backoff=task.backoff,
                        name=f"{type(member).__name__.lower()} {member.name}",
                        report=report,
                    )
            except LinkRefusedError:
                # The board shows why; the task ends until the record changes.
                task.refused = True
                return
            # We woke, and what stood before the sleep is dead or will be found so. Nobody failed.
            task.backoff.reset()


async def _redial_after_wakes(wakes: Wakes, tasks: dict[str, _Task]) -> NoReturn:
    count = wakes.count
    while True:
        count = await wakes.wait(count)
        for task in tasks.values():
            task.attempt.cancel()


@asynccontextmanager
async def _paced(pace: trio.CapacityLimiter, dial: Dial) -> AsyncIterator[Link]:
    """Dial when it is one's turn; the turn is over once the link is up."""
    async with AsyncExitStack() as stack:
        async with pace:
            link = await stack.enter_async_context(dial())
        yield link


def _dialled_by(member: Member) -> Hashable:
    """Return what of a member's record its link depends on."""
    if isinstance(member, Node):
        return member.address, member.control_port, member.awg_key, member.derive_key, member.name
    return member.address, member.tunnel_port, member.name


def _changed_members(db: Database, seen: int) -> tuple[int, dict[str, Member] | None, frozenset[str]]:
    """Return up to where the outbox was read, the members if one has changed since ``seen``, and whom to push to.

    -1 returns the members in any case. A thousand rows are not read for each commit.
    """
    changed = "SELECT 1 FROM outbox WHERE sequence > ? AND noun IN ('node', 'relay') LIMIT 1"
    newest = last_sequence(db)
    if seen >= 0 and db.execute(changed, (seen,)).fetchone() is None:
        return newest, None, frozenset()
    members: list[Member] = [node for node in list_nodes(db) if node.state in LINKED]
    members += [relay for relay in list_relays(db) if relay.state in TUNNELLED]
    pushed = db.execute("SELECT subject FROM outbox WHERE sequence > ? AND kind = ?", (seen, f"node_{PUSHED}"))
    return newest, {member.id: member for member in members}, frozenset(row["subject"] for row in pushed)
