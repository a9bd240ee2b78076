"""Keeps one network plan in force on this machine, in the helper's process: set, watched, healed, taken away again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
import trio

from pharos.buoy.netkernel import (
    RESOLVER_FILES,
    SWITCHES,
    Listing,
    NetworkPolicyError,
    completed,
    open_news,
    read_dropping_chains,
    read_switches,
    read_table,
    skip_news,
    tell_nft,
    write_switch,
)
from pharos.wire.errors import StateFileError
from pharos.wire.files import StateFile, open_state_directory
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.netrules import nft_document, removal_document
from pharos.wire.netswitches import first_seen, is_switch, order_back, sysctls
from pharos.wire.units import MILLISECONDS, SECONDS
from pharos.wire.world import this_world

log = logging.getLogger(__name__)

FILE: Final = "network.json"
FORMAT: Final = "pharos/buoy-network/v1"
# Rules are told of by the kernel at once; switches and this machine's resolvers by nobody.
LOOK_INTERVAL: Final = 10 * SECONDS
# A firewall that loads its rules anew tells a thousand changes: one look for all that came meanwhile.
SETTLE_INTERVAL: Final = 250 * MILLISECONDS
_KINDS: Final = ("set", "chain", "rule")


@attrs.define
class _Memory:
    """What outlives the process, but no reboot: the plan, and what the machine had before the first."""

    plan: NetworkPlan | None = None
    before: dict[str, str] = attrs.field(factory=dict)
    table: str = ""
    """Of the plan: the digest of what nft was told and of what the table then was; empty: not in force yet."""


class NetworkKeeper:
    """The network policy of this machine. One process at a time keeps it, and ``run`` has to run for it to be kept.

    ``directory`` is root's own, empty after a reboot: whoever may write there decides what the switches go back to.

    Raises, when it is made: StateFileError — others may look into the directory.
    """

    def __init__(
        self, directory: Path, *, switches: Path = SWITCHES, resolver_files: tuple[Path, ...] = RESOLVER_FILES
    ) -> None:
        remedy = "remove it; the kernel's switches then stay as they are"
        self._file = StateFile(open_state_directory(directory) / FILE, FORMAT, remedy)
        self._switches = switches
        self._resolver_files = resolver_files
        self._memory = self._recall()
        self._document: dict[str, Any] | None = None
        """What nft was told; None: nothing, or it may have failed."""
        self._listing: Listing = []
        self._findings: tuple[str, ...] = ()
        self._failed = False
        self._lock = trio.Lock()

    @property
    def plan(self) -> NetworkPlan | None:
        """The plan in force, or that was in force when the process before this one ended; None: none."""
        return self._memory.plan

    async def apply(self, plan: NetworkPlan) -> tuple[str, ...]:
        """Put a plan in the place of the one before it, and return sentences on what will not work nevertheless.

        Raises: NetworkPolicyError — it could not be; the plan is kept, and tried again by ``run``.
        """
        async with self._lock:
            await self._adopt()
            self._memory.plan = plan
            complete = self._complete(plan)
            if nft_document(complete) == self._document:
                # One device more among those of its pool changes nothing; whether it is still so, ``run`` knows.
                return self._findings
            await self._put()
            return self._findings

    async def remove(self) -> None:
        """Take away the table, and set the switches back to what they were; nothing is left.

        Raises: NetworkPolicyError.
        """
        async with self._lock:
            self._restore()
            await tell_nft(removal_document())
            this_world().unlink(self._file.path, missing_ok=True)
            self._memory, self._document, self._listing = _Memory(), None, []

    async def find_drift(self) -> tuple[str, ...]:
        """Return what is not as the plan wants it: `table`, `plan`, or the name of a switch.

        Raises: NetworkPolicyError.
        """
        async with self._lock:
            return await self._find_drift(table=True)

    async def _find_drift(self, *, table: bool) -> tuple[str, ...]:
        """``table``: whether to ask nft, too, which takes 20 ms."""
        if self._memory.plan is None:
            return ()
        wanted, found = self._complete(self._memory.plan), []
        if self._document is None or (table and await read_table() != self._listing):
            found.append("table")
        if nft_document(wanted) != self._document:
            # Another plan, or this machine asks other resolvers now.
            found.append("plan")
        now = read_switches(self._switches)
        found += [path for path, value in sysctls(wanted, now | self._memory.before).items() if now.get(path) != value]
        return tuple(found)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Put back what somebody changed, until cancelled; what was in force before this process began comes first.

        Raises: NetworkPolicyError — the kernel tells no news.
        """
        with open_news() as news:
            task_status.started()
            told = True
            while True:
                await self._heal(table=told)
                await trio.sleep(SETTLE_INTERVAL)
                with trio.move_on_after(LOOK_INTERVAL) as scope:
                    await trio.lowlevel.wait_readable(news)
                told = not scope.cancelled_caught
                skip_news(news)

    async def _heal(self, *, table: bool) -> None:
        async with self._lock:
            begun, known = trio.current_time(), self._document is not None
            try:
                await self._adopt()
                drift = await self._find_drift(table=table)
                if drift:
                    await self._put()
            except NetworkPolicyError as error:
                if not self._failed:
                    log.error("the network policy is not in force: %s", error)
                self._failed = True
                return
            self._failed = False
            if drift:
                taken = (trio.current_time() - begun) / MILLISECONDS
                said = "was changed under us" if known else "was not set by this process"
                log.warning("the network policy %s (%s); in force after %.0f ms", said, ", ".join(drift), taken)

    async def _adopt(self) -> None:
        """Know the table of the process before this one, if nobody has touched it since, and leave it alone.

        In the moment in which a table is replaced the kernel may lose a packet of a new connection: a lookup in a set
        that is about to go finds nothing, while the rule that asks is still in force.
        """
        if self._document is not None or self._memory.plan is None or not self._memory.table:
            return
        plan = self._complete(self._memory.plan)
        document, listing = nft_document(plan), await read_table()
        if _digest(document, listing) == self._memory.table:
            self._findings = await _find_obstacles(plan) if plan.interfaces else ()
            self._document, self._listing = document, listing

    async def _put(self) -> None:
        assert self._memory.plan is not None, "there is a plan to put"
        plan = self._complete(self._memory.plan)
        document = nft_document(plan)
        now = read_switches(self._switches)
        self._memory.before = first_seen(now, self._memory.before)
        self._memory.table = ""
        self._save()
        # The rules first: there is no moment in which packets are forwarded without them.
        self._document = None
        await tell_nft(document)
        listing = await read_table()
        if _count(listing) != _count([one["add"] for one in document["nftables"] if "add" in one]):
            raise NetworkPolicyError("somebody changes the firewall at this moment; it is tried again")
        for path, value in sysctls(plan, self._memory.before).items():
            if now.get(path) != value:
                write_switch(path, value, self._switches)
        self._findings = await _find_obstacles(plan) if plan.interfaces else ()
        self._document, self._listing = document, listing
        self._memory.table = _digest(document, listing)
        self._save()

    def _save(self) -> None:
        memory = self._memory
        plan = None if memory.plan is None else memory.plan.as_json()
        self._file.save({"plan": plan, "before": memory.before, "table": memory.table})

    def _restore(self) -> None:
        plan, before = self._memory.plan, self._memory.before
        ours = {} if plan is None else sysctls(plan, before)
        for path in order_back(before):
            # Those that move others along come first, so that each is read when it is its turn. What is not as we set
            # it, somebody else has set since.
            now = _read(self._switches / path)
            if now not in (None, before[path]) and (path not in ours or now == ours[path]):
                write_switch(path, before[path], self._switches)

    def _complete(self, plan: NetworkPlan) -> NetworkPlan:
        return completed(plan, self._resolver_files)

    def _recall(self) -> _Memory:
        try:
            body = self._file.load()
            return _Memory() if body is None else _read_memory(body)
        except (StateFileError, ValueError) as error:
            log.warning("what the network was before is not known any more: %s", error)
            return _Memory()


async def _find_obstacles(plan: NetworkPlan) -> tuple[str, ...]:
    """Raises: NetworkPolicyError."""
    found = [
        f"the chain {chain} drops what is forwarded; allow there what {plan.interfaces[0]} takes and gives"
        for chain in await read_dropping_chains()
    ]
    if not plan.resolvers:
        found.append("no resolver is known that devices could ask; set policy.resolvers")
    return tuple(found)


def _read_memory(body: dict[str, Any]) -> _Memory:
    """Raises: ValueError — it is none of ours: not a path but those that a plan moves is ever written."""
    before, table = body.get("before"), body.get("table", "")
    if (
        body.keys() | {"table"} != {"plan", "before", "table"}
        or not isinstance(table, str)
        or not isinstance(before, dict)
        or not all(map(is_switch, before, before.values()))
    ):
        raise ValueError("the file of the network's state is not of this version")
    return _Memory(plan=NetworkPlan.from_json(body["plan"]), before=before, table=table)


def _digest(document: dict[str, Any], listing: Listing) -> str:
    return hashlib.sha256(json.dumps([document, listing], sort_keys=True).encode()).hexdigest()


def _count(listing: Listing) -> list[int]:
    return [sum(kind in one for one in listing) for kind in _KINDS]


def _read(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return None
