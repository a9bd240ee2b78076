"""A process that keeps the network policy of the host it runs at, as the root helper does, and is told over a socket.

Each connection carries one order as JSON, `{"apply": PLAN}`, `{"remove": true}` or `{"drift": true}`, and one answer.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import trio

from pharos.buoy.netkernel import NetworkPolicyError
from pharos.buoy.netpolicy import NetworkKeeper
from pharos.wire.daemon import run_daemon, set_up_logging
from pharos.wire.netpolicy import NetworkPlan


async def perform(keeper: NetworkKeeper, order: dict[str, Any]) -> Any:
    if "apply" in order:
        return await keeper.apply(NetworkPlan.from_json(order["apply"]))
    if "remove" in order:
        return await keeper.remove()
    return await keeper.find_drift()


async def serve(
    path: Path, directory: Path, resolvers: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    keeper = NetworkKeeper(directory, resolver_files=(resolvers,))

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            order = json.loads(b"".join([part async for part in stream]))
            try:
                said: Any = {"done": await perform(keeper, order)}
            except NetworkPolicyError as error:
                said = {"error": str(error)}
            await stream.send_all(json.dumps(said).encode())

    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as sock:
        await sock.bind(str(path))
        sock.listen()
        async with trio.open_nursery() as nursery:
            await nursery.start(keeper.run)
            nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(sock)])
            task_status.started()


if __name__ == "__main__":
    set_up_logging()
    run_daemon(functools.partial(serve, *map(Path, sys.argv[1:])))
