"""A fleet lives its life, and of all its packets none comes to helm that helm has not asked for.

Costs 30 s, half of it the knocking at every port.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
import trio

from tests.journeys.scene import Scene, echoing, open_scene, wait_echo
from tests.support.commands import program
from tests.system.lab.knock import DOORS, EVERY_PORT, Watch
from tests.system.lab.network import Lab

pytestmark = [pytest.mark.journey, pytest.mark.system]

STRANGER = "buoyb"
"""A node that helm dials: who could know its address, if not a node."""
SOME_PORTS = range(8001, 8201)


async def is_heard(watch: Watch, ports: range) -> bool:
    """Knock at all doors; tell whether a knock came through to helm, or an answer back."""
    for door in DOORS:
        await watch.knock(door, ports)
    return await watch.uninvited() > 0 or await watch.answers() > 0


async def listens_to_itself_only(lab: Lab) -> bool:
    open_to = [each for each in await lab.sockets("helm") if each.state in ("LISTEN", "UNCONN")]
    return bool(open_to) and all(ipaddress.ip_address(each.address).is_loopback for each in open_to)


async def live(scene: Scene) -> None:
    """What a fleet does in its days: people join, work and lose things, nodes fall, and helm has its nights."""
    ada = await scene.join("clienta")
    await ada.up("--node", "buoya")
    near = await scene.inner_address(ada, "buoya")
    await wait_echo(ada, near)
    async with echoing(ada, near) as echoes:
        await scene.join_as("phone", "clientb")
        await scene.helm("devices", "revoke", "phone")
        await scene.kill("buoyb")
        await scene.start_again("buoyb")
        await scene.kill("helm")
        await scene.start_again("helm")
        # Whoever joins gets through to it, by the way on which it has dialled out.
        state = str(scene.folder / "caravel-tablet")
        words = [*program("caravel"), "enroll", "-", "--state", state]
        await scene.lab.run("clientb", *words, stdin=await scene.invite("tablet"))
        await scene.wait_converged("clienta", "tablet")
    assert echoes.lost == 0


async def test_nobody_dials_in_to_helm_all_its_life(tmp_path: Path) -> None:
    async with open_scene(tmp_path, stranger=STRANGER) as scene:
        assert scene.watch is not None
        await live(scene)
        assert await scene.watch.uninvited() == 0
        assert await listens_to_itself_only(scene.lab)

        # A node that would like to know helm better tries each of its ports, and the NAT's.
        assert not await is_heard(scene.watch, EVERY_PORT)

        # It is the NAT that keeps it out: without one, the same knocks are heard.
        await scene.lab.open_firewall()
        with trio.fail_after(30):
            assert await is_heard(scene.watch, SOME_PORTS)
