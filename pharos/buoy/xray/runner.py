"""Who runs Xray for us: systemd by way of the root helper, or, in the demo and in tests, this process."""

from __future__ import annotations

import functools
import logging
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NoReturn, Protocol, TypeAlias

import trio

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.roothelper.acts import MAX_SOCKETS, KillSockets, SocketPair, Unit, UnitAct, UnitVerb
from pharos.buoy.roothelper.client import RootHelper
from pharos.buoy.xray.model import API_NAME
from pharos.wire.units import SECONDS
from pharos.wire.world import this_world

log = logging.getLogger(__name__)

Kill: TypeAlias = Callable[[tuple[SocketPair, ...]], Awaitable[None]]
"""Ends TCP connections of this machine at once. Raises: EngineError."""

TEST_TIMEOUT: Final = 30 * SECONDS
"""10,000 users take a quarter of a second."""
RESPAWN: Final = 1 * SECONDS


class Runner(Protocol):
    """Has Xray run, or not; what it reads is the driver's."""

    async def restart(self) -> None:
        """Have it begin anew, or begin. Raises: EngineError."""
        ...

    async def stop(self) -> None:
        """Have it end, and not begin by itself. Raises: EngineError."""
        ...

    async def run(self) -> NoReturn:
        """Be there for it until cancelled."""
        ...


class UnitRunner:
    """The unit of Xray, which outlives the agent."""

    def __init__(self, helper: RootHelper) -> None:
        self._helper = helper

    async def restart(self) -> None:
        await self._helper.perform(UnitAct(Unit.XRAY, UnitVerb.RESTART))

    async def stop(self) -> None:
        await self._helper.perform(UnitAct(Unit.XRAY, UnitVerb.STOP))

    async def run(self) -> NoReturn:
        await trio.sleep_forever()


class ChildRunner:
    """A child of this process; it is started again when it ends by itself, and ends with us."""

    def __init__(self, program: Path, config: Path) -> None:
        self._command = [str(program), "run", "-c", str(config)]
        self._socket = config.with_name(API_NAME)
        self._wanted = trio.Event()
        self._process: trio.Process | None = None
        self._ended = trio.Event()
        self._told = False
        self._turn = trio.Lock()
        """Held while one begins, which is not one to end yet."""

    async def restart(self) -> None:
        self._wanted.set()
        await self._end()

    async def stop(self) -> None:
        # One that is not set yet is what `run` waits for.
        if self._wanted.is_set():
            self._wanted = trio.Event()
        await self._end()

    async def run(self) -> NoReturn:
        while True:
            await self._wanted.wait()
            try:
                async with trio.open_nursery() as nursery, self._turn:
                    if not self._wanted.is_set():
                        continue
                    self._ended, self._told = trio.Event(), False
                    # One that was killed left its own there, and Xray does not start over it.
                    self._socket.unlink(missing_ok=True)
                    self._process = await nursery.start(functools.partial(_run_quietly, self._command))
            except* OSError as group:
                log.warning("Xray cannot be run: %s", group.exceptions[0])
            self._process = None
            self._ended.set()
            if not self._told:
                log.info("Xray ended by itself")
                await trio.sleep(RESPAWN)

    async def _end(self) -> None:
        async with self._turn:
            process, ended = self._process, self._ended
            self._told = self._told or process is not None
        if process is not None:
            process.terminate()
            await ended.wait()


async def dry_run(program: Path, config: Path) -> None:
    """Have Xray say whether it would start with a configuration.

    What it says is not repeated, for it quotes keys.

    Raises: EngineError — it would not, or gives no answer.
    """
    try:
        with trio.fail_after(TEST_TIMEOUT):
            done = await _run_quietly([str(program), "run", "-test", "-c", str(config)])
    except OSError as error:
        raise EngineError(f"{program} cannot be run: {error.strerror}") from error
    except trio.TooSlowError:
        raise EngineError(f"Xray did not test its configuration within {TEST_TIMEOUT:.0f} s") from None
    if done.returncode:
        raise EngineError(f"Xray refuses its configuration (exit {done.returncode}); run: xray run -test -c {config}")


def kill_through(helper: RootHelper) -> Kill:
    """Return what ends connections by way of the root helper."""

    async def kill(pairs: tuple[SocketPair, ...]) -> None:
        for first in range(0, len(pairs), MAX_SOCKETS):
            await helper.perform(KillSockets(pairs[first : first + MAX_SOCKETS]))

    return kill


async def _run_quietly(
    command: list[str], *, task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED
) -> subprocess.CompletedProcess[bytes]:
    nothing = subprocess.DEVNULL
    return await this_world().run_process(
        command, stdin=b"", stdout=nothing, stderr=nothing, check=False, task_status=task_status
    )
