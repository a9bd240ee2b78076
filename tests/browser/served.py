"""The built admin page as helm serves it, over a picture of the fleet that a test draws."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import hypercorn.trio
import trio
from hypercorn.config import Config
from quart_trio import QuartTrio

from pharos.helm.web.guard import guard_loopback
from pharos.helm.web.spa import FOLDER, make_spa_blueprint

NOW = "2026-07-12T14:02:11Z"


@attrs.define
class Served:
    """A running page; ``status`` may be changed while a browser looks."""

    address: str
    """Of the page, without the last slash."""
    status: dict[str, Any]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def stop(self) -> None:
        """Go silent, as a helm that was killed."""
        self.scope.cancel()


@asynccontextmanager
async def open_served(status: dict[str, Any], *, folder: Path = FOLDER) -> AsyncIterator[Served]:
    """Serve ``folder`` with helm's own guard and headers; the picture is ``status``."""
    listener = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    served = Served(f"http://{host}", status)
    app = QuartTrio(__name__, static_folder=None)
    guard_loopback(app, {host})

    @app.get("/api/v1/status")
    async def picture() -> dict[str, Any]:
        return served.status

    app.register_blueprint(make_spa_blueprint(folder))
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "WARNING"
    config.graceful_timeout = 0.1

    async def serve(*, task_status: trio.TaskStatus[list[str]]) -> None:
        with served.scope:
            await hypercorn.trio.serve(app, config, mode="asgi", task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        yield served
        served.stop()


def fleet(**lists: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a picture with these lists; the others are empty."""
    empty: dict[str, Any] = {name: [] for name in ("nodes", "relays", "devices", "events")}
    identity = {"id": "3f9ac01b227710de", "posture": "personal"}
    return {"fleet": identity, "version": "0.1.0", "started_at": NOW, **empty, **lists}


def node(name: str, **facts: object) -> dict[str, Any]:
    """Return a healthy node with these facts changed."""
    return {
        "id": f"id-{name}",
        "name": name,
        "address": "192.0.2.10",
        "control_port": 8443,
        "awg_port": 443,
        "tags": ["eu"],
        "state": "active",
        "link": "up",
        "since": NOW,
        "detail": None,
        "applied_revision": 12,
        "desired_revision": 12,
        "peers": 2,
        **facts,
    }


def relay(name: str, **facts: object) -> dict[str, Any]:
    """Return a relay whose tunnel is up, with these facts changed."""
    return {
        "id": f"id-{name}",
        "name": name,
        "address": "198.51.100.7",
        "ingress_port": 8443,
        "tunnel_port": 8444,
        "link": "up",
        "since": NOW,
        "detail": None,
        "passages": 1,
        **facts,
    }


def device(name: str, **facts: object) -> dict[str, Any]:
    """Return an enrolled device that never connected, with these facts changed."""
    return {
        "id": f"id-{name}",
        "name": name,
        "state": "active",
        "created_at": NOW,
        "last_handshake_at": None,
        "node": None,
        **facts,
    }


def event(sequence: int, kind: str, **facts: object) -> dict[str, Any]:
    """Return an event with these facts."""
    return {"sequence": sequence, "at": NOW, "kind": kind, "node": None, "device": None, "text": "", **facts}
