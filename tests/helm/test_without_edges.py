"""helm without its web edge: several in one process, each on a machine of its own, on virtual time, without threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio
from trio.testing import MockClock

from pharos.helm.app import run_helm
from pharos.helm.config import HelmConfig
from pharos.helm.context import HelmContext
from pharos.helm.store.checks import list_copies
from pharos.wire.files import write_atomic
from pharos.wire.units import DAYS, HOURS
from pharos.wire.world import World, inhabiting
from tests.support.helm import make_fleet_files, now

T = TypeVar("T")


class Machine(World):
    """Its clock goes with Trio's, and is wrong by so many seconds; what blocks is done in place."""

    def __init__(self, *, ahead: float) -> None:
        self._began = now().timestamp() + ahead - trio.current_time()

    def wall_ns(self) -> int:
        return round((self._began + trio.current_time()) * 1e9)

    async def in_thread(
        self,
        work: Callable[..., T],
        *arguments: object,
        limiter: trio.CapacityLimiter | None = None,
        abandon_on_cancel: bool = False,
    ) -> T:
        await trio.lowlevel.checkpoint()
        return work(*arguments)


async def start_helm(nursery: trio.Nursery, state: Path, machine: Machine) -> HelmContext:
    with inhabiting(machine):
        context: HelmContext = await nursery.start(
            functools.partial(run_helm, HelmConfig(state=state, beacon="off"), edges=False)
        )
    return context


async def test_two_helms_live_three_hours_each_by_its_own_clock(tmp_path: Path, autojump_clock: MockClock) -> None:
    files, _kit = make_fleet_files()
    states = tmp_path / "one", tmp_path / "two"
    for state in states:
        state.mkdir(mode=0o700)
        for name, content in files.items():
            write_atomic(state / name, content)
    async with trio.open_nursery() as nursery:
        ahead = 2 * DAYS
        contexts = [
            await start_helm(nursery, states[0], Machine(ahead=0.0)),
            await start_helm(nursery, states[1], Machine(ahead=ahead)),
        ]
        assert abs(contexts[1].started_at - contexts[0].started_at - ahead * 1e6) < 60 * 1e6
        await trio.sleep(3 * HOURS + 60)
        for state, context in zip(states, contexts, strict=True):
            assert not (state / "helm.sock").exists()
            copies = list_copies(state)
            assert len(copies) == 4, "one at start, and one each hour"
            assert context.store.condition.state.health.name == "WRITABLE"
        assert list_copies(states[0])[-1].name < list_copies(states[1])[0].name
        nursery.cancel_scope.cancel()
