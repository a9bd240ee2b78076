"""A device of bench.caravel: it joins, connects from what it keeps, and goes over to another node.

    python -m bench._caravel_device FOLDER

A worker (bench.support), and a process of its own as an application is.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import psutil
import trio

from bench._rpc_ours import say
from bench._wire_fleet import answer_requests
from pharos.caravel.client import Client, open_client
from pharos.caravel.enrolment import enroll
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.tunnel.proxy import ProxyPlan, serve_proxies
from pharos.caravel.tunnel.session import Tunnel
from pharos.wire.profile import AMNEZIAWG
from pharos.wire.seal.ticket import TicketLink

PATIENCE: Final = 60.0
TICK: Final = 0.02
"""Seconds between two echoes while a node is killed: what the answer is late by at most."""


async def run(folder: Path) -> None:
    devices: dict[str, Path] = {}
    held: dict[str, trio.CancelScope] = {}

    async def join(*, name: str, link: str) -> dict[str, Any]:
        """Join, connect, and return the seconds until the first packet has come back through a node."""
        devices[name] = folder / name
        start = time.perf_counter()
        await enroll(ProfileStore(devices[name]), TicketLink.parse(link))
        async with open_client(devices[name]) as client, client.connect(protocol=AMNEZIAWG) as tunnel:
            await _first_echo(tunnel)
            return {"seconds": time.perf_counter() - start}

    async def connect(*, name: str) -> dict[str, Any]:
        """Return the milliseconds from opening the store to the first packet that came back."""
        start = time.perf_counter()
        async with open_client(devices[name]) as client, client.connect() as tunnel:
            await _first_echo(tunnel)
            return {"ms": (time.perf_counter() - start) * 1000, "through": tunnel.status().name}

    async def hold(*, name: str) -> dict[str, Any]:
        """Connect and stay so, with a proxy; return the node, and what this process has in memory."""
        ready = trio.Event()
        status: dict[str, Any] = {}

        async def stay() -> None:
            with trio.CancelScope() as held[name]:
                async with open_client(devices[name]) as client:
                    await _watch(client, status, ready)

        nursery.start_soon(stay)
        with trio.fail_after(PATIENCE):
            await ready.wait()
        return {"node": status["node"], "rss_mb": psutil.Process(os.getpid()).memory_info().rss / 1e6}

    async def _watch(client: Client, status: dict[str, Any], ready: trio.Event) -> None:
        async with (
            client.connect() as tunnel,
            trio.open_nursery() as inner,
        ):
            await _first_echo(tunnel)
            await inner.start(serve_proxies, tunnel, ProxyPlan(socks=("127.0.0.1", 0)))
            status["node"] = tunnel.status().name
            ready.set()
            echoes.clear()
            while True:
                sent = time.monotonic()
                report = await tunnel.ping(1)
                if report.received:
                    echoes.append((sent, time.monotonic()))
                await trio.sleep(TICK)

    async def gap() -> dict[str, Any]:
        """Return the longest time between two answers since `hold`, in seconds."""
        arrived = [at for _, at in echoes]
        return {"seconds": max((b - a for a, b in itertools.pairwise(arrived)), default=0.0)}

    async def let_go(*, name: str) -> dict[str, Any]:
        held.pop(name).cancel()
        return {}

    echoes: list[tuple[float, float]] = []
    async with trio.open_nursery() as nursery:
        say(ready=True)
        await answer_requests({"join": join, "connect": connect, "hold": hold, "gap": gap, "let_go": let_go})
        nursery.cancel_scope.cancel()


async def _first_echo(tunnel: Tunnel) -> None:
    """Wait for the first packet that comes back."""
    with trio.fail_after(PATIENCE):
        await tunnel.wait_up(PATIENCE)
        while not (await tunnel.ping(1)).received:  # noqa: ASYNC110 -- nobody tells
            await trio.sleep(TICK)


if __name__ == "__main__":
    trio.run(run, Path(sys.argv[1]))
