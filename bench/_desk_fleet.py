"""The fleet of bench.desk: helm by its own command and a beacon, each a process; whoever calls is the devices."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from bench.support import Worker
from pharos.demo.feed import wait_status
from pharos.demo.processes import free_port, open_crew, run_command, run_json
from pharos.helm.cli.api import ask
from pharos.wire.seal.ticket import TicketLink

HOST: Final = "127.0.0.1"


@attrs.frozen(kw_only=True)
class Desk:
    """A running helm with one beacon."""

    folder: Path
    web_port: int

    @property
    def helm_state(self) -> Path:
        return self.folder / "helm"

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask helm as its operator."""
        return await ask(self.helm_state, method, path, body, None)

    async def invite(self, name: str) -> TicketLink:
        return TicketLink.parse((await self.ask("POST", "/api/v1/tickets", {"device_name": name}))["link"])


@asynccontextmanager
async def open_desk(folder: Path, start: Callable[..., Worker]) -> AsyncIterator[Desk]:
    """Make a fleet and run it while the block lasts."""
    web, ingress, tunnel = (free_port(socket.SOCK_STREAM) for _ in range(3))
    desk = Desk(folder=folder, web_port=web)
    state, beacon = str(desk.helm_state), str(folder / "beacon")
    await run_json("helm", "init", "--personal", "--state", state)
    async with open_crew(folder) as crew:
        await crew.start("helm", "helm", "run", "--state", state, "--web-port", str(web), "--beacon", "off")
        await wait_status(desk.helm_state, lambda _picture: True, crew.check)
        request = await run_command("beacon", "csr", "--state", beacon)
        ports = ["--ingress-port", str(ingress), "--tunnel-port", str(tunnel)]
        grant = await run_command(
            *("helm", "relays", "admit", "--name", "gate", "--address", HOST, *ports),
            *("--state", state, "--request", "-"),
            stdin=request,
        )
        await run_command("beacon", "csr", "--state", beacon, "--install", "-", stdin=grant)
        worker = start("bench._desk_beacon", beacon, str(ingress), str(tunnel))
        await trio.to_thread.run_sync(lambda: worker.ready)
        await wait_status(desk.helm_state, _relays_up, crew.check)
        yield desk


def _relays_up(picture: dict[str, Any]) -> bool:
    return all(relay["link"] == "up" for relay in picture["relays"] if relay["state"] == "active")
