"""What is done to the fleet: each kind once a round, in an order and with targets by seed."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import attrs
import trio

from pharos.wire.profile import AMNEZIAWG
from tests.soak.fleet import BUOYS, DAEMONS, SMALL, SoakFleet
from tests.soak.logs import Fault
from tests.soak.operator import Desk
from tests.system.lab.impair import Impairment

PAUSE: Final = (1.0, 4.0)
"""Seconds between two faults."""
LASTS: Final = (2.0, 5.0)
"""Seconds of a fault that lasts."""
LOSS: Final = 0.3
SLOW: Final = Impairment(delay=0.2, jitter=0.1)
BLOCKS: Final = (1 << 18, 1 << 12)
"""Bytes that are written at a time until the disk is full: much first, and then to the last page."""
ENDS: Final = ("kill", "restart")
CABLES: Final = (*DAEMONS, "clienta")


@attrs.define
class Storm:
    """Faults, one after the other; what was done is noted."""

    fleet: SoakFleet
    desk: Desk
    random: random.Random
    done: list[Fault] = attrs.field(factory=list)
    now: str = "none"
    spares_after: float = math.inf
    """By Trio's clock: from then on no daemon is ended, so that each is old enough to be judged in the calm."""
    _devices: int = 0

    @property
    def kinds(self) -> dict[str, Callable[[str], Awaitable[None]]]:
        """Each kind of fault by its name; it is told whom it befalls."""
        return {
            "kill": self._kill,
            "restart": self._restart,
            "device": self._device,
            "cut": self._cut,
            "lose": self._lose,
            "delay": self._delay,
            "freeze": self._freeze,
            "full": self._full,
            "reissue": self._reissue,
            "revoke": self._revoke,
        }

    def round(self) -> list[tuple[str, str]]:
        """Return the next round: every daemon is killed once, and of every other kind there is one."""
        plan = [("kill", name) for name in DAEMONS]
        targets = {
            "restart": DAEMONS,
            "device": tuple(device.name for device in self.fleet.live),
            "cut": CABLES,
            "lose": CABLES,
            "delay": CABLES,
            "freeze": DAEMONS,
            "reissue": BUOYS,
            "revoke": ("",),
        }
        plan += [(kind, self.random.choice(names)) for kind, names in targets.items()]
        plan += [("full", name) for name in SMALL]
        self.random.shuffle(plan)
        return plan

    async def run(self) -> NoReturn:
        """Do round after round until cancelled, which lets a fault that has begun come to its end."""
        while True:
            for kind, target in self.round():
                if kind in ENDS and trio.current_time() > self.spares_after:
                    continue
                await trio.sleep(self.random.uniform(*PAUSE))
                with trio.CancelScope(shield=True):
                    await self._do(kind, target)

    async def _do(self, kind: str, target: str) -> None:
        began, self.now = time.time(), f"{kind} {target}".strip()
        await self.kinds[kind](target)
        self.done.append(Fault(kind=kind, target=target, began=began, ended=time.time()))
        self.now = "none"

    def _while(self) -> float:
        return self.random.uniform(*LASTS)

    async def _kill(self, name: str) -> None:
        await self._end(name, self.fleet.processes[name].kill)

    async def _restart(self, name: str) -> None:
        await self._end(name, self.fleet.processes[name].stop)

    async def _end(self, name: str, end: Callable[[], Awaitable[None]]) -> None:
        self.fleet.paused.add(name)
        await end()
        await trio.sleep(self.random.uniform(0, LASTS[0]))
        await self.fleet.processes[name].start(ready=True)
        self.fleet.paused.discard(name)

    async def _device(self, name: str) -> None:
        # It may have been revoked since the round was made.
        if not self.fleet.devices[name].revoked:
            await self.fleet.restart_device(self.fleet.devices[name])

    async def _cut(self, host: str) -> None:
        async with self.fleet.lab.cut(host):
            await trio.sleep(self._while())

    async def _lose(self, host: str) -> None:
        async with self.fleet.lab.lose(host, LOSS):
            await trio.sleep(self._while())

    async def _delay(self, host: str) -> None:
        async with self.fleet.lab.impair(host, SLOW, seed=self.random.getrandbits(16)):
            await trio.sleep(self._while())

    async def _freeze(self, name: str) -> None:
        pid = self.fleet.processes[name].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await trio.sleep(self._while())
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _full(self, name: str) -> None:
        ballast = trio.Path(self.fleet.state_of(name) / "ballast")
        async with await ballast.open("wb", buffering=0) as file:
            for size in BLOCKS:
                # That it fails is what it is for.
                with contextlib.suppress(OSError):
                    while True:
                        await file.write(bytes(size))
            await trio.sleep(self._while())
        await ballast.unlink()

    async def _reissue(self, name: str) -> None:
        node = await self.desk.find("nodes", name)
        await self.desk.ask("POST", f"/api/v1/nodes/{node['id']}/reissue", version=node["version"])

    async def _revoke(self, _target: str) -> None:
        """A device is revoked, and another joins; the first ones stay."""
        self._devices += 1
        name = f"guest{self._devices}"
        await self.fleet.add_device(name, self.random.choice(("clienta", "clientb")), AMNEZIAWG)
        await trio.sleep(self._while())
        record = await self.desk.find("devices", name)
        await self.desk.ask("POST", f"/api/v1/devices/{record['id']}/revoke", version=record["version"])
        self.fleet.devices[name].revoked = True
