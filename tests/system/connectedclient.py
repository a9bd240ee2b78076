"""A device at a host of the lab that holds its connection and says, in lines of JSON, how it stands: a program."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import trio

from pharos.caravel.client import open_client
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.session import Tunnel

ASK_EVERY = 0.1
PATIENCE = 0.4


def say(**words: Any) -> None:
    print(json.dumps({"at": time.monotonic(), **words}), flush=True)


async def tell_events(tunnel: Tunnel) -> None:
    async for event in tunnel.watch():
        say(event=event.as_json())


async def use(tunnel: Tunnel) -> None:
    """Ask the node all the time, as somebody who works over the connection does."""
    while True:
        echoed = 0
        with trio.move_on_after(PATIENCE):
            echoed = (await tunnel.ping(1)).received
        say(echoed=echoed, node=tunnel.name)
        await trio.sleep(ASK_EVERY)


async def main(state: str, protocol: str) -> None:
    options = ConnectOptions(portal_checks=())
    async with open_client(Path(state)) as client:
        async with client.connect(protocol=protocol or None, inner="netstack", options=options) as tunnel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tell_events, tunnel)
                nursery.start_soon(use, tunnel)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
