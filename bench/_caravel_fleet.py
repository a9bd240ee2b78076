"""The fleet of bench.caravel: helm, a beacon and two nodes in one process, with their engines, on loopback.

    python -m bench._caravel_fleet FOLDER

A worker (bench.support): it is asked for tickets, and to stop and start a node.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import trio

from bench._rpc_ours import say
from bench._wire_fleet import answer_requests
from tests.support.fleet import running_fleet

NODES: Final = ("a", "b")


async def run(folder: Path) -> None:
    async with running_fleet(folder, buoys=NODES, timeout=900) as fleet:

        async def invite(*, name: str) -> dict[str, Any]:
            """Return a link by which one device may join."""
            return {"link": (await fleet.invite(name)).render()}

        async def settle(*, peers: int) -> dict[str, Any]:
            """Return once both nodes serve so many devices."""
            await fleet.wait_settled(peers=peers)
            return {}

        async def stop(*, node: str) -> dict[str, Any]:
            await fleet.buoys[node].stop()
            return {}

        async def start(*, node: str) -> dict[str, Any]:
            await fleet.buoys[node].start()
            return {}

        say(ready=True)
        await answer_requests({"invite": invite, "settle": settle, "stop": stop, "start": start})


if __name__ == "__main__":
    trio.run(run, Path(sys.argv[1]))
