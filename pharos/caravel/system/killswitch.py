"""The kill switch's table of nftables as this machine has it: put up, looked at, taken down."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final, NoReturn

import trio

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.commands import find_command, run_command
from pharos.caravel.system.kernel import open_news, read_news
from pharos.caravel.system.nft import FAMILY, TABLE, Portal, nft_document, removal_document
from pharos.caravel.system.plan import SystemPlan
from pharos.caravel.system.restore import Json
from pharos.wire.units import MILLISECONDS, SECONDS

log = logging.getLogger(__name__)

NFT: Final = "nft"
"""As the journal has it."""
LOOK_AGAIN: Final = 50 * MILLISECONDS
"""Between two looks, when somebody changes his own rules many times."""
TRY_AGAIN: Final = 1 * SECONDS
_NETLINK_NETFILTER: Final = 12  # linux/netlink.h
_NFNLGRP_NFTABLES: Final = 7  # linux/netfilter/nfnetlink.h
_NFT: Final = 10 << 8
"""NFNL_SUBSYS_NFTABLES, in the upper half of a message's type."""
_ELEMENTS: Final = frozenset({_NFT | 12, _NFT | 14, _NFT | 15})
"""NFT_MSG_NEWSETELEM, DELSETELEM, and NEWGEN that ends each change: a split tunnel by names makes one an answer."""


async def put_up(plan: SystemPlan, portal: Portal | None = None) -> None:
    """Put the table of this plan in the place of the one there is, if any, at one go.

    Raises: SystemModeError.
    """
    await run_command("nft", "-j", "-f", "-", stdin=json.dumps(nft_document(plan, portal)))


async def take_down() -> None:
    """Remove the table, if it is there.

    Raises: SystemModeError.
    """
    await run_command("nft", "-j", "-f", "-", stdin=json.dumps(removal_document()))


async def undo_nft(body: Json) -> None:
    """Undo what is noted as `NFT`. Raises: SystemModeError."""
    if body.get("table") != TABLE:
        raise SystemModeError(f"{body.get('table')!r} is no table of ours")
    await take_down()


async def read_table() -> str | None:
    """Return the table as nft lists it, with the numbers of its parts: another's of the same rules differs. None: there
    is none.

    Raises: SystemModeError.
    """
    if find_command("nft") is None:
        return None
    tables = json.loads(await run_command("nft", "-j", "list", "tables"))["nftables"]
    if not any(one.get("table", {}).get("name") == TABLE and one["table"]["family"] == FAMILY for one in tables):
        return None
    return await run_command("nft", "-j", "list", "table", FAMILY, TABLE)


class Keeper:
    """Puts the table up, and again whenever somebody else removes or changes it: a firewall that is started anew begins
    with ``flush ruleset``."""

    def __init__(self, plan: SystemPlan) -> None:
        self._plan = plan
        self._portal: Portal | None = None
        self._wanted = trio.Event()
        self._listed: str | None = None
        self._lock = trio.Lock()

    async def put_up(self) -> None:
        """Raises: SystemModeError."""
        async with self._lock:
            await self._put_up()

    def set_portal_nowait(self, portal: Portal | None) -> None:
        """Let this out soon, and nothing else any more; while `run_wishes` runs."""
        if portal != self._portal:
            self._portal = portal
            self._wanted.set()

    async def run_wishes(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Put up what was asked for without waiting, until cancelled."""
        task_status.started()
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            await _insist(self.put_up)

    async def look(self) -> bool:
        """Put up what is not as it was; return whether that was needed.

        Raises: SystemModeError.
        """
        async with self._lock:
            if self._listed is not None and await read_table() == self._listed:
                return False
            await self._put_up()
            return True

    async def _put_up(self) -> None:
        self._listed = None
        await put_up(self._plan, self._portal)
        self._listed = await read_table()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Keep the table until cancelled."""
        groups = 1 << (_NFNLGRP_NFTABLES - 1)
        await keep(_NETLINK_NETFILTER, groups, self._keep, trifles=_ELEMENTS, task_status=task_status)

    async def _keep(self) -> None:
        if await self.look():
            log.warning("somebody changed or removed the table %s of nftables; it is up again", TABLE)


async def keep(
    protocol: int,
    groups: int,
    look: Callable[[], Awaitable[None]],
    *,
    trifles: Collection[int] = (),
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Call ``look`` whenever groups of netlink have news, until cancelled; what fails is done again.

    ``trifles`` are types of messages that are no reason to look.
    """
    with open_news(protocol, groups) as sock:
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(sock)
            kinds = read_news(sock)
            if kinds is None or not kinds <= frozenset(trifles):
                await _insist(look)
                await trio.sleep(LOOK_AGAIN)


async def _insist(act: Callable[[], Awaitable[None]]) -> None:
    """Do it until it can be done."""
    while True:
        try:
            return await act()
        except SystemModeError as error:
            log.error("%s", error)
            await trio.sleep(TRY_AGAIN)
