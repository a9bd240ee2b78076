"""Plans for Xray, and a driver round a real one, on loopback."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import attrs
import trio

from pharos.buoy.dataplane.base import RealityEndpoint, RealityPlan, RealityUser
from pharos.buoy.dataplane.realityplan import Place
from pharos.buoy.roothelper.perform import Performer
from pharos.buoy.xray.driver import XrayDriver
from pharos.buoy.xray.model import CONFIG_NAME, XrayConfig
from pharos.buoy.xray.runner import ChildRunner, kill_through
from pharos.wire.convert import EventKind
from pharos.wire.desired import Policy
from pharos.wire.ids import DeviceId
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.dial import open_reality
from pharos.wire.reality.params import RealityParameters
from pharos.wire.reality.vless import Command, Flow, Request
from pharos.wire.reality.vlessstream import VlessStream, request_over
from pharos.wire.reality.vlessudp import VlessDatagrams
from pharos.wire.reality.xudp import XudpEnd
from tests.support.reality import NAME, NODE_KEY, SHORT_ID, node_public_key, settings
from tests.support.xray import PROGRAM
from tests.wire.reality.fronts import HOST

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
OLD_KEY = bytes(range(64, 96))


def user(name: str, number: int = 1, **changes: Any) -> RealityUser:
    user_id = uuid.UUID(f"{number:08x}-2222-4333-8444-555555555555").bytes
    return RealityUser(device_id=DeviceId(name), user_id=user_id, **changes)


def users(*some: RealityUser) -> dict[DeviceId, RealityUser]:
    return {one.device_id: one for one in some}


ALICE, BOB = user("alice", 1), user("bob", 2)


def endpoint(port: int = 443, *, target: str = "www.site.test:443", key: bytes = NODE_KEY) -> RealityEndpoint:
    parameters = RealityParameters(
        target=target, server_names=(NAME,), short_ids=(SHORT_ID.hex(),), generation=1 if key == OLD_KEY else 2
    )
    return RealityEndpoint(port=port, parameters=parameters, private_key=key)


def config(runtime: Path, **changes: Any) -> XrayConfig:
    usual = XrayConfig(
        runtime=runtime, listen=HOST, endpoints=(endpoint(),), users=users(ALICE, BOB), policy=Policy(), own=()
    )
    return attrs.evolve(usual, **changes)


@attrs.define
class Told:
    """Events, and who waits for them."""

    events: list[tuple[EventKind, str, str]] = attrs.field(factory=list)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def __call__(self, kind: EventKind, *, at: int, device_id: DeviceId, detail: str) -> None:
        assert at > 0
        self.events.append((kind, device_id, detail))
        self._news.set()

    async def wait_for(self, kind: EventKind, device_id: str) -> str:
        """Return the detail of the first such event."""
        while True:
            for one in self.events:
                if one[:2] == (kind, device_id):
                    return one[2]
            self._news = trio.Event()
            await self._news.wait()


destroy = kill_through(Performer(cast(Any, None), owners=lambda: {os.geteuid()}))
"""Ends connections as the root helper does; it takes root."""
is_root = os.geteuid() == 0


@attrs.define
class Node:
    """A driver, and the Xray that it runs."""

    driver: XrayDriver
    runner: ChildRunner
    told: Told
    runtime: Path

    @contextlib.asynccontextmanager
    async def asks(
        self,
        who: RealityUser,
        port: int,
        *,
        key: bytes = NODE_KEY,
        at: int | None = None,
        host: str = HOST,
        via: str = HOST,
    ) -> AsyncIterator[VlessStream]:
        """Dial as a device does, and ask for a target."""
        known = settings(public_key=node_public_key(key))
        request = Request(user_id=who.user_id, command=Command.TCP, target=Address(host, port), flow=Flow.VISION)
        async with open_reality(via, at or self.driver.port, known) as outer:
            yield request_over(outer, request)

    @contextlib.asynccontextmanager
    async def asleep(self) -> AsyncIterator[None]:
        """Have this agent do nothing while the block lasts, as if it were stopped; its Xray goes on."""
        async with self.driver._turn:
            self.driver._witness.users = None
            yield

    @contextlib.asynccontextmanager
    async def datagrams(self, who: RealityUser) -> AsyncIterator[VlessDatagrams]:
        request = Request(user_id=who.user_id, command=Command.MUX, target=None, flow=Flow.VISION)
        async with open_reality(HOST, self.driver.port, settings()) as outer:
            yield VlessDatagrams(request_over(outer, request), XudpEnd(client=True))


@contextlib.asynccontextmanager
async def running_driver(runtime: Path, *, baseline: Mapping[DeviceId, tuple[int, int]] | None = None, **options: Any):
    """Run a driver, with no plan yet."""
    assert PROGRAM is not None, "the test is marked"
    program, told = Path(PROGRAM), Told()
    runner = ChildRunner(program, runtime / CONFIG_NAME)
    usual = {"place": Place(hosts=(HOST,), allowed=(LOOPBACK,)), "kill": destroy, "own": tuple}
    driver = XrayDriver(
        program=program, runtime=runtime, runner=runner, on_event=told, baseline=baseline, **(usual | options)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(driver.run)
        yield Node(driver, runner, told, runtime)
        nursery.cancel_scope.cancel()


def plan(*endpoints: RealityEndpoint, who: tuple[RealityUser, ...] = (ALICE, BOB), **changes: Any) -> RealityPlan:
    return RealityPlan(endpoints=endpoints, users=users(*who), **changes)
