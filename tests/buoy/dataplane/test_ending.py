"""A session by REALITY that is ended: its open streams are cut, and new ones are let in."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import cast

import attrs
import pytest
import trio

from pharos.buoy.dataplane.base import ENDED, AwgPlan, RealityPlan
from pharos.buoy.dataplane.manager import Planes
from pharos.buoy.dataplane.plans import Planner
from pharos.demo.processes import free_port
from pharos.wire.convert import EventKind
from pharos.wire.desired import Desired
from tests.buoy.dataplane.test_manager import Engine
from tests.buoy.dataplane.test_reality import LAPTOP, PHONE, both, device, endpoint, says, users, world


@attrs.frozen
class Plans:
    """A planner that has one plan."""

    plan: RealityPlan

    def awg(self, _: Desired) -> AwgPlan:
        return AwgPlan(private_key=bytes(32))

    def reality(self, _: Desired) -> RealityPlan:
        return self.plan


@both
async def test_streams_of_the_device_are_cut_and_it_may_come_again(tmp_path: Path, name: str) -> None:
    async with world(tmp_path, name) as at:
        port = free_port(socket.SOCK_STREAM)
        plan = RealityPlan(endpoints=(endpoint(at.site, port),), users=users(PHONE, LAPTOP))
        planes = Planes(cast("Planner", Plans(plan)), Engine(), at.driver)
        await planes.apply(Desired())
        async with device(port, at.echo) as stream, device(port, at.echo, name=LAPTOP) as other:
            assert await says(stream, b"octets") == b"octets"
            assert await says(other, b"others") == b"others"
            await planes.end_session(PHONE)
            assert await at.told.until(EventKind.DISCONNECTED) == ENDED
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            assert await says(other, b"go on") == b"go on", "nobody else's are touched"
        async with device(port, at.echo) as again:
            assert await says(again, b"again") == b"again"
