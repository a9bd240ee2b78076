"""System-wide mode opened and closed: what is changed, in which order, and what stays when it ends.

The kill switch is up before there is a route, and goes last. Everything is noted before it is done (`restore`).
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import trio

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.kernel import default_routes, path_mtu, set_up_device, spoken_versions
from pharos.caravel.system.killswitch import NFT, Keeper, read_table, take_down
from pharos.caravel.system.mark import Marks
from pharos.caravel.system.nft import TABLE, Portal
from pharos.caravel.system.plan import SystemPlan, fitting_mtu
from pharos.caravel.system.restore import Journal, Places, open_journal
from pharos.caravel.system.routes import plan_routes, plan_rules
from pharos.caravel.system.routing import Routing
from pharos.caravel.system.undoing import HELD, UNDOERS
from pharos.caravel.tunnel.parts import Inner
from pharos.wire.awg.tun import Tun, open_tun, set_mtu
from pharos.wire.awg.udp import set_mark
from pharos.wire.tasks import open_background
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

CLOSING: Final = 60 * SECONDS
"""For which a block that was cancelled puts things back; each program that is asked takes a third of it at most."""
STATUS: Final = Path("/proc/self/status")
_CAP_NET_ADMIN: Final = 12  # linux/capability.h


class System:
    """This machine in the tunnel; ``open_system`` makes it."""

    def __init__(self, plan: SystemPlan, tun: Tun, journal: Journal, keeper: Keeper, *, held_before: bool) -> None:
        self.plan = plan
        self.held_before = held_before
        """Whether a kill switch was up already: of one that was killed, or the boot's."""
        self.inner = Inner(far=tun, streams=None)
        """The packets of the whole machine."""
        self.journal = journal
        """For those who change more of the machine, such as its DNS."""
        self.released = False
        """Whether the kill switch goes with the block, whatever ends it."""
        self._tun = tun
        self._keeper = keeper

    @property
    def device(self) -> str:
        """Our TUN's name."""
        return self._tun.name

    @property
    def index(self) -> int:
        """Its number."""
        return self._tun.index

    @property
    def marks(self) -> Marks:
        return self.plan.marks

    @property
    def held(self) -> bool:
        """Whether a kill switch holds what the tunnel does not carry."""
        return self.plan.kill_switch

    def protect(self, sock: socket.socket) -> None:
        """Have a socket stay outside the tunnel.

        Raises: OSError.
        """
        set_mark(sock, self.plan.marks.outside)

    def release(self) -> None:
        """Say that somebody has asked for the end: the kill switch goes with the block, even one that is cancelled."""
        self.released = True

    def allow_portal(self, allowed: bool) -> None:
        """Let people's programs out to log in to this network, or no longer; what daemons send stays held.

        Questions for names go to the network's router meanwhile. It takes effect some milliseconds later. Nothing is
        let out unless this is called.

        Raises: OSError — the kernel does not say who the router is.
        """
        portal = None
        if allowed:
            gateways = [ipaddress.ip_address(route.gateway) for route in default_routes() if route.gateway is not None]
            portal = Portal(resolvers=tuple(gateways))
        self._keeper.set_portal_nowait(portal)

    def refit(self) -> int:
        """Fit the TUN to the ways out that there are now; return its MTU. It is done whenever links or routes change.

        Raises: SystemModeError — the TUN is gone, or cannot be so large.
        """
        mtu = self.plan.mtu or fitting_mtu(path_mtu(), self.plan.padding)
        try:
            if mtu != self._tun.mtu:
                set_mtu(self._tun.name, mtu)
                self._tun.fit(mtu)
        except OSError as error:
            raise SystemModeError(f"{self._tun.name} cannot take packets of {mtu} bytes: {error.strerror}") from error
        return mtu


@asynccontextmanager
async def open_system_linux(plan: SystemPlan, places: Places) -> AsyncIterator[System]:
    """See `pharos.caravel.system.open_system`."""
    _check_rights()
    with open_journal(places) as journal:
        keeper = Keeper(plan)
        if not any(entry.kind == NFT for entry in journal.entries):
            journal.note(NFT, {"table": TABLE})
        # Nobody has asked for its end yet, if there is one already; on a first try a failure changes nothing.
        held_before = await read_table() is not None
        stays = plan.kill_switch and (plan.hold or held_before)
        try:
            # What an earlier one left held until now, and this takes its place without a gap.
            await keeper.put_up()
            await _put_back_leftovers(journal)
            with _tun(plan) as tun:
                system = System(plan, tun, journal, keeper, held_before=held_before)
                routing = _routing(system)
                try:
                    routing.set(journal)
                    async with (
                        open_background(keeper.run),
                        open_background(keeper.run_wishes),
                        open_background(routing.run),
                    ):
                        yield system
                    stays = plan.hold and not system.released
                except BaseException:
                    stays = plan.kill_switch and not system.released
                    raise
        finally:
            with trio.move_on_after(CLOSING, shield=True):
                await journal.undo(UNDOERS, keep=HELD if stays else ())


async def restore_linux(places: Places) -> list[str]:
    """See `pharos.caravel.system.restore_system`."""
    _check_rights()
    with open_journal(places) as journal:
        kinds = [entry.kind for entry in journal.entries]
        if NFT not in kinds and await read_table() is not None:
            # Of the boot, which notes nothing.
            kinds.append(NFT)
            await take_down()
        await journal.undo(UNDOERS)
    return kinds


async def _put_back_leftovers(journal: Journal) -> None:
    try:
        await journal.undo(UNDOERS, keep=HELD)
    except SystemModeError as error:
        # It is still noted; a connection is worth more than an old file.
        log.warning("of an earlier connection: %s", error)


def _routing(system: System) -> Routing:
    plan, versions, index = system.plan, spoken_versions(), system.index
    set_up_device(system.device, index, plan.addresses, versions)
    return Routing(
        routes=tuple(plan_routes(plan, index, versions=versions)),
        rules=tuple(plan_rules(plan, versions=versions)),
        changed=system.refit,
    )


@contextmanager
def _tun(plan: SystemPlan) -> Iterator[Tun]:
    """Raises: SystemModeError."""
    own = frozenset(address.ip.packed for address in plan.addresses)
    mtu = plan.mtu or fitting_mtu(path_mtu(), plan.padding)
    opening = open_tun(plan.device, mtu=mtu, is_local=own.__contains__)
    try:
        tun = opening.__enter__()
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise SystemModeError(f"another program has an interface {plan.device}; stop it first") from error
        raise SystemModeError(f"no TUN interface can be had here: {error.strerror}; try: caravel proxy") from error
    try:
        yield tun
    finally:
        opening.__exit__(None, None, None)


def _check_rights() -> None:
    """Raises: SystemModeError."""
    status = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    if not int(status["CapEff"], 16) >> _CAP_NET_ADMIN & 1:
        who = "this user" if os.geteuid() else "this root, of a container,"
        raise SystemModeError(
            f"{who} may not change the machine's network (CAP_NET_ADMIN); use sudo, or: caravel proxy"
        )
