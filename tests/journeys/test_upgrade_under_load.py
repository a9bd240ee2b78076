"""All servers of a fleet get newer packages while people work through them: no echo is lost, whatever goes wrong.

Costs 75 s, most of it packages that are installed; the packages and the machines' trees are made before, once.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import pharos
from pharos.wire.console import Exit
from tests.journeys.scene import Scene, open_scene
from tests.journeys.servers import begin_upgrade, open_servers, prepare_servers, upgrade, wait_first, working
from tests.support.figures import Fault, record
from tests.system.needs import missing_for_machines
from tests.system.packagednode import BROKEN, NEWER, WHOLE, Holding, deb_of, node_debs

pytestmark = [pytest.mark.journey, pytest.mark.system]


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The node's package of today, a newer one, and one whose agent falls as it starts."""
    return node_debs(tmp_path_factory)


async def test_a_fleet_is_upgraded_while_people_work(tmp_path: Path, debs: Path) -> None:
    await prepare_servers()
    old, new, bad = (deb_of(debs, version) for version in (pharos.__version__, NEWER, BROKEN))
    async with (
        open_scene(tmp_path, buoys=()) as scene,
        open_servers(scene, old) as nodes,
        working(scene, ada="buoya", bob="buoyb") as people,
    ):
        before = [(await node.engine(), await node.identity()) for node in nodes.values()]

        # The operator has the nodes upgraded, one after the other. When the first is done, helm loses its power.
        under_way = await begin_upgrade(scene, new)
        first = await wait_first(under_way)
        await scene.kill("helm")
        assert await under_way.wait() == Exit.UNREACHABLE

        # With one node of each version helm is back, and somebody joins, whom both of them serve.
        await scene.start_again("helm")
        await wait_versions(scene, {node: NEWER if node == first else pharos.__version__ for node in nodes})
        await scene.join_as("phone", "clienta")
        await scene.wait_settled(peers=3)
        lost, sent = await count_lost(people)
        assert lost == 0
        record(Fault.MIXED_VERSIONS, "echoes lost with agents of two versions side by side", lost, f"of {sent}")

        # The same command goes on from there.
        assert await upgrade(scene, new) == {node: "already" if node == first else "upgraded" for node in nodes}
        await wait_versions(scene, dict.fromkeys(nodes, NEWER))

        # The next version is no good: whoever gets it first gets the other back, and nobody else gets it.
        assert sorted((await upgrade(scene, bad)).values()) == ["left", "rolled_back"]
        await wait_versions(scene, dict.fromkeys(nodes, NEWER))
        for node in nodes.values():
            assert await node.installed() == f"{NEWER} install ok installed"

        # Every engine is the one that it was, and so is who the node is. Of all this nobody has missed an echo.
        assert [(await node.engine(), await node.identity()) for node in nodes.values()] == before
        lost, sent = await count_lost(people)
        assert lost == 0
        assert sent > 100
        assert (await scene.helm("audit", "verify"))["ok"] is True

        # One that is started anew they do miss, by the same count.
        await nodes["buoya"].machine.run("systemctl", "restart", "pharos-awg@awg0")
        lost, _ = await count_lost(people)
        assert lost > 0


async def wait_versions(scene: Scene, wanted: dict[str, str]) -> None:
    """Wait until helm has heard of each node which version it runs, and has told it all."""
    await scene.wait_status(lambda seen: {node["name"]: node["agent_version"] for node in seen["nodes"]} == wanted)
    await scene.wait_settled(peers=len(await scene.names("devices")))


async def count_lost(people: list[Holding]) -> tuple[int, int]:
    """Return how many echoes were lost so far, and how many were sent. Nobody's stream is broken."""
    for person in people:
        await person.wait_echoes()
    said = [line for person in people for line in person.echoes()]
    whole = int(WHOLE.split()[0])
    return sum(whole - int(line.split()[0]) for line in said), whole * len(said)
