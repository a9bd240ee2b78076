"""Nobody reaches helm: not at any port, not from anywhere, over neither IP, even where its own address is known."""

from __future__ import annotations

import ipaddress
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.system.lab.fleet import running_fleet, start_fleet
from tests.system.lab.knock import DOORS, EVERY_PORT, Watch
from tests.system.lab.network import Lab, open_lab

pytestmark = pytest.mark.system

OUTSIDERS = ("buoya", "buoyb", "beacon", "clienta")
SILENCE = 3.0
"""Seconds that are taken for a no: Linux tries a second SYN after one."""
DIAL_TIMEOUT = 15.0
SOME_PORTS = range(8001, 8501)


async def reached(lab: Lab, port: int, *, patience: float) -> set[tuple[str, int]]:
    """Let each outsider dial helm's own addresses; return who got an answer of any kind, and over which IP."""
    answered = set()

    async def dial(outsider: str, family: int) -> None:
        with trio.move_on_after(patience):
            try:
                stream = await lab.namespace(outsider).connect(lab.host("helm").address(family), port)
            except ConnectionRefusedError:
                pass
            else:
                await stream.aclose()
            answered.add((outsider, family))

    async with trio.open_nursery() as nursery:
        for outsider in OUTSIDERS:
            for family in (4, 6):
                nursery.start_soon(dial, outsider, family)
    return answered


@pytest.mark.row(75)
@pytest.mark.parametrize("family", [4, 6])
async def test_helm_listens_to_its_own_machine_only(tmp_path: Path, family: int) -> None:
    async with running_fleet(tmp_path, family=family) as fleet:
        await fleet.enrol("clienta")
        open_to = [s for s in await fleet.lab.sockets("helm") if s.state in ("LISTEN", "UNCONN")]
        assert {(s.kind, s.port) for s in open_to} == {("tcp", 8440)}
        assert all(ipaddress.ip_address(s.address).is_loopback for s in open_to)


async def test_no_port_lets_a_stranger_in(tmp_path: Path) -> None:
    with trio.fail_after(180):
        async with open_lab(tmp_path) as lab, AsyncExitStack() as stack:
            # Before helm dials: a connection that nft has not seen begin would count as uninvited.
            watch = Watch(lab, lab.host("buoyb"))
            await watch.install()
            await start_fleet(lab)
            # The NAT must be what keeps them out, and not that nobody is at home.
            for address in ("0.0.0.0", "::"):
                await stack.enter_async_context(await lab.namespace("helm").listen(address, SOME_PORTS[0]))

            for door in DOORS:
                await watch.knock(door)
            assert all(count >= len(EVERY_PORT) for count in (await watch.arrived()).values())
            assert await watch.uninvited() == 0
            assert await watch.answers() == 0
            # The node and the relay that helm itself has dialled are no better off.
            assert await reached(lab, SOME_PORTS[0], patience=SILENCE) == set()
            assert await watch.uninvited() == 0

            # Red proof: with the firewall open, the same knocks are heard, and a dial comes through.
            await lab.open_firewall()
            for door in DOORS:
                await watch.knock(door, SOME_PORTS)
            assert await watch.uninvited() > 0
            assert await watch.answers() > 0
            everybody = {(outsider, version) for outsider in OUTSIDERS for version in (4, 6)}
            assert await reached(lab, SOME_PORTS[0], patience=DIAL_TIMEOUT) == everybody
