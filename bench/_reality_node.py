"""The node of bench.reality, told by its control socket, and the site that it borrows from.

    python -m bench._reality_node SOCKET
    python -m bench._reality_node --site

Workers (bench.support). The node waits for its target less than it would on the Internet, and knows it in a second.
"""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import trio

from bench._reality_wire import HOST, PLAIN_ID, VISION_ID, server_context
from bench._rpc_ours import read_line, say
from bench._wire_fleet import answer_requests, cpu
from bench.support import raise_file_limit
from pharos.wire.reality.control import write_flow
from pharos.wire.reality.controlserver import listen_control, serve_control
from pharos.wire.reality.engine import RealityEngine
from pharos.wire.reality.learning import Patience
from pharos.wire.reality.serving import RealityServer
from pharos.wire.reality.vless import Flow
from tests.support.reality import NAME, NODE_KEY, SHORT_ID
from tests.wire.reality.nodes import running_site

_PATIENCE = Patience(visit=10.0, quiet=0.15, alert=0.15)


class Control:
    """A manager's connection to a control socket, which blocks."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.connect(str(path))
        self._file = self._sock.makefile("r")

    def say(self, text: str) -> dict[str, str]:
        """Send a request and return its reply. Raises: RuntimeError — it was refused."""
        self._sock.sendall(text.encode())
        reply: dict[str, str] = {}
        while line := self._file.readline().strip():
            key, _, value = line.partition("=")
            reply[key] = value
        if reply.get("errno") != "0":
            raise RuntimeError(f"the node refused a request: {reply}")
        return reply

    def close(self) -> None:
        self._file.close()
        self._sock.close()


def user(name: str, user_id: bytes, flow: Flow = Flow.NONE) -> str:
    return f"user={name}\nid={UUID(bytes=user_id)}\nflow={write_flow(flow)}\n"


def crowd(count: int) -> Iterable[str]:
    return (user(f"user-{number}", b"\xff" * 12 + number.to_bytes(4, "big")) for number in range(count))


def whole(target: int) -> str:
    """Return the request that tells a node everything."""
    return (
        f"set=1\nprivate_key={NODE_KEY.hex()}\ntarget={HOST}:{target}\nserver_names={NAME}\n"
        f"short_ids={SHORT_ID.hex()}\nlisten={HOST}:0\nallowed_networks=127.0.0.0/8\n"
        f"{user('plain', PLAIN_ID)}{user('vision', VISION_ID, Flow.VISION)}\n"
    )


async def memory() -> dict[str, Any]:
    """Return what of this process is in memory."""
    gc.collect()
    return {"kb": psutil.Process().memory_info().rss / 1024}


async def run_node(path: Path) -> None:
    engine = RealityEngine(RealityServer(patience=_PATIENCE))
    with listen_control(path) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            await nursery.start(serve_control, engine, listener)
            say(ready=True)
            await answer_requests({"cpu": cpu, "memory": memory})
            nursery.cancel_scope.cancel()


async def run_site() -> None:
    async with running_site(server_context()) as site:
        say(port=site.port)
        while await read_line():
            pass


if __name__ == "__main__":
    raise_file_limit()
    if sys.argv[1] == "--site":
        trio.run(run_site)
    else:
        trio.run(run_node, Path(sys.argv[1]))
