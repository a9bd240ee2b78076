"""Servers that were bought at different times, with the node's package on them; and how their operator upgrades it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from tests.journeys.scene import POLL_INTERVAL, Scene
from tests.support.commands import program
from tests.system.bare import PAGE_ADDRESS
from tests.system.lab.commands import run_ip
from tests.system.lab.processes import Process
from tests.system.packagednode import Holding, PackagedNode, hold_tunnel, open_packaged_node
from tests.system.trees import ensure_tree
from tests.wire.reality.fronts import echo

SERVERS: Final = {"buoya": "bookworm", "buoyb": "trixie"}
"""Debian 12 and 13."""
ABROAD: Final = "clientb"
"""Where somebody sends back what he gets."""
ECHO: Final = PAGE_ADDRESS, 7
DESKS: Final = "clienta"
"""Where people work."""


async def prepare_servers() -> None:
    """Have what the servers boot from, for it may take minutes to make."""
    for release in SERVERS.values():
        await ensure_tree(release)


@asynccontextmanager
async def open_servers(scene: Scene, deb: Path) -> AsyncIterator[dict[str, PackagedNode]]:
    """Have servers with a package as nodes of the fleet while the block lasts, and beyond them somebody who echoes."""
    space, gateway = scene.lab.namespace(ABROAD), scene.lab.host(ABROAD).address4
    await run_ip([f"addr add {PAGE_ADDRESS}/32 dev lo"], space.name)
    key = await scene.lab.run(scene.desk, *program("helm"), "ssh-key", "--state", str(scene.record))
    async with AsyncExitStack() as stack:
        nodes = {}
        for host, release in SERVERS.items():
            await run_ip([f"route add {PAGE_ADDRESS} via {gateway}"], scene.lab.namespace(host).name)
            node = await stack.enter_async_context(open_packaged_node(scene.lab, host, release, deb, key=key))
            await node.join(scene.record, host)
            nodes[host] = node
        await scene.wait_settled(peers=0)
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(trio.serve_listeners, _send_back, [await space.listen(*ECHO)])
        yield nodes
        nursery.cancel_scope.cancel()


async def _send_back(stream: trio.SocketStream) -> None:
    # Whoever ends without a word is no fault.
    with contextlib.suppress(trio.BrokenResourceError):
        async with stream:
            await echo(stream)


@asynccontextmanager
async def working(scene: Scene, **people: str) -> AsyncIterator[list[Holding]]:
    """Have people join, and work while the block lasts, each through the node that is said: echoes, and a stream."""
    states = {person: await scene.join_as(person, DESKS) for person in people}
    await scene.wait_settled(peers=len(people))
    held = [await hold_tunnel(scene.lab, DESKS, states[who], node=node, to=ECHO) for who, node in people.items()]
    yield held
    for each in held:
        await each.process.stop()


async def begin_upgrade(scene: Scene, deb: Path) -> Process:
    """Type the command that upgrades all nodes, one first and then the others, and return while it works."""
    words = [*program("helm"), "nodes", "upgrade", "--all", "--canary", "1", "--deb", str(deb)]
    return await scene.lab.start(scene.desk, *words, "--state", str(scene.record), "--json", name=f"upgrade-{deb.name}")


async def upgrade(scene: Scene, deb: Path) -> dict[str, str]:
    """Do so to its end; return the outcome of each node."""
    process = await begin_upgrade(scene, deb)
    await process.wait()
    outcomes: dict[str, str] = told(process)[-1]["outcomes"]
    return outcomes


async def wait_first(process: Process) -> str:
    """Wait until an upgrade is done with one node; return its name."""
    while True:
        for event in told(process):
            if event.get("outcome") == "upgraded":
                return str(event["member"])
        process.check()
        await trio.sleep(POLL_INTERVAL)


def told(process: Process) -> list[dict[str, Any]]:
    """Return what an upgrade has said so far."""
    return [json.loads(line) for line in process.log.read_text().splitlines() if line[:1] == "{" and line[-1:] == "}"]
