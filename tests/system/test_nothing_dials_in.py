"""Nobody reaches helm: not at any port, not from anywhere, over neither IP, even where its own address is known."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.system.lab.fleet import running_fleet
from tests.system.lab.knock import DOORS, EVERY_PORT, Watch
from tests.system.lab.network import Lab

pytestmark = pytest.mark.system

OUTSIDERS = ("buoya", "buoyb", "beacon", "clienta")
DIAL_PATIENCE = 3.0
"""Seconds: Linux tries a second SYN after one, and a third after three."""
SOME_PORTS = range(8001, 8501)


async def reached(lab: Lab, outsiders: Sequence[str], port: int) -> set[tuple[str, int]]:
    """Let each outsider dial helm's own addresses; return who got an answer of any kind, and over which IP."""
    answered = set()

    async def dial(outsider: str, family: int) -> None:
        with trio.move_on_after(DIAL_PATIENCE):
            try:
                stream = await lab.namespace(outsider).connect(lab.host("helm").address(family), port)
            except ConnectionRefusedError:
                pass
            else:
                await stream.aclose()
            answered.add((outsider, family))

    async with trio.open_nursery() as nursery:
        for outsider in outsiders:
            for family in (4, 6):
                nursery.start_soon(dial, outsider, family)
    return answered


@pytest.mark.parametrize("family", [4, 6])
async def test_helm_listens_to_its_own_machine_only(tmp_path: Path, family: int) -> None:
    async with running_fleet(tmp_path, family=family) as fleet:
        await fleet.enrol("clienta")
        open_to = [s for s in await fleet.lab.sockets("helm") if s.state in ("LISTEN", "UNCONN")]
        assert {(s.kind, s.port) for s in open_to} == {("tcp", 8440)}
        assert all(ipaddress.ip_address(s.address).is_loopback for s in open_to)


async def test_no_port_lets_a_stranger_in(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, timeout=180) as fleet, AsyncExitStack() as stack:
        lab = fleet.lab
        # The NAT must be what keeps them out, and not that nobody is at home.
        for address in ("0.0.0.0", "::"):
            await stack.enter_async_context(await lab.namespace("helm").listen(address, SOME_PORTS[0]))
        watch = Watch(lab, lab.host("buoyb"))
        await watch.install()

        for door in DOORS:
            await watch.knock(door)
        assert await watch.arrived() == {door.name: len(EVERY_PORT) for door in DOORS}
        assert await watch.uninvited() == 0
        assert await watch.answers() == 0
        # The node and the relay that helm itself has dialled are no better off.
        assert await reached(lab, OUTSIDERS, SOME_PORTS[0]) == set()
        assert await watch.uninvited() == 0

        # Red proof: with the firewall open, the same knocks are heard, and a dial comes through.
        await lab.open_firewall()
        for door in DOORS:
            await watch.knock(door, SOME_PORTS)
        at_helm = [door for door in DOORS if door.address in (lab.host("helm").address4, lab.host("helm").address6)]
        assert await watch.uninvited() == len(at_helm) * len(SOME_PORTS)
        assert await watch.answers() > 0
        everybody = {(outsider, version) for outsider in OUTSIDERS for version in (4, 6)}
        assert await reached(lab, OUTSIDERS, SOME_PORTS[0]) == everybody
