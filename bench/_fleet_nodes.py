"""The simulated buoys of bench.fleet, in a process of their own.

    python -m bench._fleet_nodes FOLDER

``nodes.json`` in the folder says who they are; each has a listener and a certificate of its own.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import trio

from bench._rpc_ours import say
from bench._wire_fleet import answer_requests, cpu
from bench.support import raise_file_limit
from pharos.wire.agent import AgentGrant
from tests.support.simnode import SimulatedNode, tell_evenly, trust_of


async def main() -> None:
    raise_file_limit()
    facts = json.loads((Path(sys.argv[1]) / "nodes.json").read_text())
    trust = trust_of(AgentGrant.parse(facts[0]["grant"]))
    nodes = [SimulatedNode(entry, trust) for entry in facts]

    async def tell(*, per_second: int, seconds: float) -> dict[str, Any]:
        return {"sent": await tell_evenly(nodes, per_second=lambda: per_second, seconds=seconds)}

    async with trio.open_nursery() as nursery:
        for node, entry in zip(nodes, facts, strict=True):
            await nursery.start(partial(node.serve, port=entry["port"]))
        say(ready=True)
        await answer_requests({"tell": tell, "cpu": cpu})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
