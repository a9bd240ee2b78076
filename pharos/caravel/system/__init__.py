"""System-wide mode of Linux: our TUN, routes, a kill switch, and what is put back afterwards.

async with open_system(SystemPlan(addresses=("10.7.0.2/16",))) as system:
    ...  # legs carry the packets of system.inner, from sockets that system.protect has seen
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.plan import SystemPlan

if TYPE_CHECKING:
    # Of Linux; who only asks whether it is that must not need it.
    from pharos.caravel.system.linux import System
    from pharos.caravel.system.restore import Places


@asynccontextmanager
async def open_system(plan: SystemPlan, *, places: Places | None = None) -> AsyncIterator[System]:
    """Lead this machine's packets into a TUN while the block lasts; nothing carries them yet.

    What was left by one that was killed is taken over: a kill switch without a gap, the rest put back first. When the
    block ends, all is put back. A kill switch stays if the block is ended by an error or a cancellation, unless
    `System.release` was called; or if the plan says so. It is removed then by `restore_system`, or by the next block.

    Raises: SystemModeError — this is no Linux, we may not, or a part of it cannot be had. AlreadyRunningError —
    another process is in charge. CommandError — nft said no.
    """
    _check_system()
    from pharos.caravel.system.linux import open_system_linux
    from pharos.caravel.system.restore import Places

    async with open_system_linux(plan, places or Places()) as system:
        yield system


async def restore_system(places: Places | None = None) -> list[str]:
    """Put back whatever an earlier block has left, the kill switch too; return the kinds of it, none if nothing was.

    Raises: as `open_system`. SystemModeError — something could not be put back; it may be tried again.
    """
    _check_system()
    from pharos.caravel.system.linux import restore_linux
    from pharos.caravel.system.restore import Places

    return await restore_linux(places or Places())


def _check_system() -> None:
    if sys.platform != "linux":
        raise SystemModeError("system-wide mode is for Linux; use: caravel proxy")
