"""A split tunnel opened: its table put up and kept, users and control groups looked up, addresses of names put in."""

from __future__ import annotations

import logging
import pwd
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn

import trio

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.commands import CommandError, run_command
from pharos.caravel.system.kernel import SWITCHES, read_switch, write_switch
from pharos.caravel.system.killswitch import keep
from pharos.caravel.system.linux import System
from pharos.caravel.system.plan import IpAddress, IpNetwork
from pharos.caravel.system.split import SplitPlan
from pharos.caravel.system.splitflows import forget_connections
from pharos.caravel.system.splitnft import (
    KEPT_INSIDE,
    KEPT_OUTSIDE,
    MAX_NAMED,
    TABLE,
    Named,
    group_rules,
    names_document,
    split_document,
)
from pharos.caravel.system.splittable import SPLIT, apply, read_named, read_split_table, undo_split
from pharos.wire.tasks import open_background
from pharos.wire.units import DAYS, SECONDS

log = logging.getLogger(__name__)

CGROUPS: Final = Path("/sys/fs/cgroup")
LOOK_FOR_GROUPS: Final = 0.5 * SECONDS
"""Between two looks whether a control group has come or was made anew; a rule knows it by its number."""
INCLUDED: Final = 1 * DAYS
"""For which an address of a name that goes in stays so at least: the kill switch holds it even if we are killed."""
SAME: Final = 30 * SECONDS
"""By which a time in the table may be less than an answer says; what is added for grace is four times that."""
_NETLINK_NETFILTER: Final = 12  # linux/netfilter.h
_NFNLGRP_NFTABLES: Final = 7
_LOOSE: Final = "2"


class Split:
    """A split that is up; ``open_split`` makes it."""

    def __init__(self, plan: SplitPlan, system: System) -> None:
        self.plan = plan
        self._system = system
        self._uids = [_numbers(user) for user in plan.users]
        self._named: OrderedDict[IpAddress, float] = OrderedDict()
        """Until when, by Trio's clock; what was put in last is last."""
        self._groups: dict[str, int] = {}
        self._listed: str | None = None
        self._lock = trio.Lock()

    async def add(self, addresses: Iterable[IpAddress], ttl: float) -> None:
        """Have these addresses of a name go where the plan says, for ``ttl`` seconds; when this returns they do.

        Of too many, those that were not asked for the longest go. Raises: SystemModeError.
        """
        seconds = max(ttl, INCLUDED) if self.plan.includes else ttl
        inner = self._system.plan.inner
        async with self._lock:
            now = trio.current_time()
            wanted = [one for one in addresses if not _within(one, inner)]
            # Most answers say what another has just said.
            fresh = [one for one in wanted if self._named.get(one, 0.0) - now < seconds - SAME]
            if not fresh:
                return
            gone = self._forget(fresh, now)
            added = [Named(address=one, seconds=int(seconds)) for one in fresh]
            await apply(names_document(added, gone))
            for one in fresh:
                self._named[one] = now + seconds
                self._named.move_to_end(one)

    def _forget(self, coming: Sequence[IpAddress], now: float) -> list[IpAddress]:
        """Forget what is over, and who has to make room; return the latter, that are in the table."""
        for one in [one for one, until in self._named.items() if until <= now]:
            del self._named[one]
        gone: list[IpAddress] = []
        for version in (4, 6):
            there = [one for one in self._named if one.version == version and one not in coming]
            new = sum(1 for one in coming if one.version == version)
            gone += there[: max(0, len(there) + new - MAX_NAMED)]
        for one in gone:
            del self._named[one]
        return gone

    async def inherit(self) -> None:
        """Take over the addresses that an earlier process has put in: they are held, and stay so.

        Raises: SystemModeError.
        """
        now = trio.current_time()
        self._named.update((one.address, now + one.seconds) for one in await read_named())

    async def put_up(self) -> None:
        """Raises: SystemModeError."""
        async with self._lock:
            await self._put_up()

    async def _put_up(self) -> None:
        self._listed = None
        now = trio.current_time()
        named = [Named(address=one, seconds=int(until - now)) for one, until in self._named.items() if until > now]
        await apply(split_document(self.plan, self._system.plan, self._uids, named))
        await self._put_groups()
        self._listed = await read_split_table()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Keep the table until cancelled, whoever removes or changes it."""
        await keep(_NETLINK_NETFILTER, 1 << (_NFNLGRP_NFTABLES - 1), self._look, task_status=task_status)

    async def run_groups(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Follow control groups that come and go until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(LOOK_FOR_GROUPS)
            if self._find_groups() != self._groups:
                try:
                    async with self._lock:
                        await self._put_groups()
                        self._listed = await read_split_table()
                except SystemModeError as error:
                    # The table went, and is put up again.
                    log.info("%s", error)

    async def _look(self) -> None:
        async with self._lock:
            if self._listed is not None and await read_split_table() == self._listed:
                return
            await self._put_up()
        log.warning("somebody changed or removed the table %s of nftables; it is up again", TABLE)

    async def _put_groups(self) -> None:
        self._groups = {}
        found = self._find_groups()
        if self.plan.cgroups:
            try:
                await run_command("nft", "-f", "-", stdin=group_rules(found))
            except CommandError:
                if self._find_groups() == found:
                    raise
                # One went in between; the next look is soon.
                return
        self._groups = found

    def _find_groups(self) -> dict[str, int]:
        """Return which are there, and their numbers."""
        found: dict[str, int] = {}
        for path in self.plan.cgroups:
            try:
                found[path] = (CGROUPS / path).stat().st_ino
            except OSError:
                continue
        return found


@asynccontextmanager
async def open_split(plan: SplitPlan, system: System) -> AsyncIterator[Split]:
    """Have what the plan names choose its side while the block lasts; ``system`` was opened with `SplitPlan.fit`.

    It stays when the block ends, for as long as the kill switch does, and goes with it (`restore`).

    Raises: SystemModeError — a user is not there, this kernel or nft cannot do it, or it said no.
    """
    split = Split(plan, system)
    if not plan.by_mark:
        await _remove_leftover(system)
        yield split
        return
    _check(plan)
    if not any(entry.kind == SPLIT for entry in system.journal.entries):
        system.journal.note(SPLIT, {"table": TABLE})
    if plan.includes and plan.domains:
        await split.inherit()
    await split.put_up()
    # What an earlier plan has chosen for a connection is chosen anew.
    for bit in (KEPT_INSIDE, KEPT_OUTSIDE):
        forget_connections(bit)
    if plan.includes:
        _loosen(system.device)
    async with open_background(split.run):
        if plan.cgroups:
            async with open_background(split.run_groups):
                yield split
        else:
            yield split


async def _remove_leftover(system: System) -> None:
    for entry in system.journal.entries:
        if entry.kind == SPLIT:
            await undo_split(entry.body)
            system.journal.forget(entry.number)


def _check(plan: SplitPlan) -> None:
    """Raises: SystemModeError."""
    if plan.cgroups and not (CGROUPS / "cgroup.controllers").exists():
        raise SystemModeError(
            "split: cgroups: this machine has no unified hierarchy of control groups (version 2) at /sys/fs/cgroup"
        )


def _loosen(device: str) -> None:
    """Let answers come in by the tunnel whose question was led there by its mark: a strict filter does not know it."""
    path = SWITCHES / f"ipv4/conf/{device}/rp_filter"
    if read_switch(path) not in (None, _LOOSE):
        write_switch(path, _LOOSE)


def _numbers(user: str) -> tuple[int, int]:
    """Return the numbers that are meant by a user, the first and the last.

    Raises: SystemModeError — there is no such user.
    """
    if user[0].isdigit():
        first, _, last = user.partition("-")
        return int(first), int(last or first)
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise SystemModeError(f"split: users: this machine has no user {user}; see: getent passwd") from None
    return uid, uid


def _within(address: IpAddress, networks: Iterable[IpNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
