"""One supervised task per node and relay of the record; they come and go with their rows."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NoReturn

import attrs
import trio

from pharos.helm.live.board import Board
from pharos.helm.model.nodes import LINKED, Node
from pharos.helm.model.relays import TUNNELLED, Relay
from pharos.helm.store.database import Database, Store
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.relays import list_relays
from pharos.wire.errors import LinkRefusedError
from pharos.wire.link import Backoff, Link, LinkState, run_link

Member = Node | Relay


@attrs.define
class _Task:
    member: Member
    scope: trio.CancelScope


async def run_supervisor(
    store: Store,
    board: Board,
    *,
    dial_node: Callable[[Node], AbstractAsyncContextManager[Link]],
    dial_relay: Callable[[Relay], AbstractAsyncContextManager[Link]],
) -> NoReturn:
    """Keep one link task per node and relay that shall be reached, until cancelled.

    A member whose record changed is dialled anew, and so a refused link gets its next chance by an operator's act.
    """
    tasks: dict[str, _Task] = {}
    async with trio.open_nursery() as link_nursery:
        while True:
            commits = store.commits
            members = await store.run(_linked_members)
            for gone in tasks.keys() - members.keys():
                tasks.pop(gone).scope.cancel()
                board.forget(gone)
            for member_id, member in members.items():
                known = tasks.get(member_id)
                if known is not None and known.member == member:
                    continue
                if known is not None:
                    known.scope.cancel()
                dial: Callable[[], AbstractAsyncContextManager[Link]] = (
                    functools.partial(dial_node, member)
                    if isinstance(member, Node)
                    else functools.partial(dial_relay, member)
                )
                tasks[member_id] = task = _Task(member, trio.CancelScope())
                link_nursery.start_soon(_keep_link, task, dial, board)
            await store.wait_commit(commits)


async def _keep_link(task: _Task, dial: Callable[[], AbstractAsyncContextManager[Link]], board: Board) -> None:
    member = task.member

    def report(state: LinkState, detail: str) -> None:
        # What a link says while it is being cut is only that it was cut, and its member may be forgotten already.
        if not task.scope.cancel_called:
            board.report(member.id, member.name, state, detail)

    with task.scope:
        try:
            await run_link(
                dial,
                backoff=Backoff(random=random.random),
                name=f"{type(member).__name__.lower()} {member.name}",
                report=report,
            )
        except LinkRefusedError:
            # The board shows why; the task ends until the record changes.
            return


def _linked_members(db: Database) -> dict[str, Member]:
    members: list[Member] = [node for node in list_nodes(db) if node.state in LINKED]
    members += [relay for relay in list_relays(db) if relay.state in TUNNELLED]
    return {member.id: member for member in members}
