"""A censor forbids what he does not know, and knocks at what he sees: she gets out, and he learns nothing.

Costs 25 s, most of it the start of programs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY
from tests.journeys.censor import (
    ABROAD,
    ALL_BUT_TLS,
    DESK,
    STRANGE,
    UDP,
    answers,
    look,
    move,
    open_abroad,
    recording,
    wait_page,
    wait_protocol,
    whisper,
)
from tests.journeys.scene import FAIL_OVER, SLACK, Scene, open_scene, wait_echo
from tests.support.figures import Fault, record
from tests.system.machinehost import MachineHost

pytestmark = [pytest.mark.journey, pytest.mark.system]


async def test_a_censor_neither_keeps_her_in_nor_learns_where_she_is(tmp_path: Path) -> None:
    async with open_scene(tmp_path, buoys=("buoya",)) as scene, open_abroad(scene, "buoya"):
        ada, node = await scene.join("clienta"), scene.lab.host("buoya").address4
        async with recording(scene.lab, "clienta", to=node) as morning:
            await ada.up()
            await wait_page(ada, through=node)
            assert (await ada.wait_phase("up"))["protocol"] == AMNEZIAWG

        # At once no UDP gets through. She reads on, and has done nothing for it.
        async with scene.lab.forbid("clienta", *UDP):
            took = await wait_page(ada, through=node)
            assert took <= SLACK * FAIL_OVER
            record(Fault.BAD_NETWORK, "until REALITY carries a device's page after UDP was blocked", took, "s")
            await wait_protocol(ada, VLESS_REALITY)

        # By noon it is all but TCP to port 443. The censor sees where she goes.
        async with scene.lab.forbid("clienta", *ALL_BUT_TLS), recording(scene.lab, "clienta", to=node) as noon:
            await wait_page(ada, through=node)
            await he_finds_the_site(scene, noon.hellos[0])
            await wait_page(ada, through=node)

        # In the evening she is in another network, where everything is open.
        await move(ada)
        with trio.fail_after(SLACK * FAIL_OVER):
            await wait_protocol(ada, AMNEZIAWG)
        await wait_page(ada, through=node)
        await he_hears_nothing(scene, ada, morning.datagrams)


async def he_finds_the_site(scene: Scene, hello: bytes) -> None:
    """What he sees of the node, also by her own hello sent again, is what the site shows."""
    at_node, at_site, at_relay = [await look(scene, host, hello) for host in ("buoya", ABROAD, "beacon")]
    assert at_node == at_site
    # He is no fool: another server he does not take for the site.
    assert (at_relay[0] != at_site[0], at_relay[-1] != at_site[-1]) == (True, True)


async def he_hears_nothing(scene: Scene, ada: MachineHost, datagrams: list[bytes]) -> None:
    """Where her datagrams went nobody answers to his, nor to hers that he has kept."""
    node = scene.lab.host("buoya").address4
    assert await answers(scene, node) == 0
    assert datagrams
    await whisper(scene, node, [*STRANGE.values(), *datagrams])
    # Whatever came before this was looked at.
    await wait_echo(ada, await scene.inner_address(ada, "buoya"))
    assert await answers(scene, node) == 0

    # To whoever has keys it does answer, there as anywhere.
    await scene.join_as("phone", DESK)
    await scene.wait_converged("clienta", "phone")
    assert (await scene.doctor("phone", DESK))["node:buoya:amneziawg"] == "ok"
    assert await answers(scene, node) > 0
