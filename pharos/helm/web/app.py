"""The two faces of one web application, and the server under them."""

from __future__ import annotations

import functools
import logging
import os
import socket
from pathlib import Path
from typing import Final

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart_trio import QuartTrio

from pharos.helm.config import SOCKET_NAME
from pharos.helm.context import HelmContext
from pharos.helm.web.acts import make_acts_blueprint
from pharos.helm.web.guard import guard_loopback
from pharos.helm.web.problems import handle_errors
from pharos.helm.web.spa import make_spa_blueprint
from pharos.helm.web.status import make_status_blueprint
from pharos.wire.errors import StateFileError
from pharos.wire.listen import naming_address
from pharos.wire.units import KIB

# The largest body is an agent's request, some 2 kB of JSON.
MAX_BODY: Final = 256 * KIB
# sun_path has 108 bytes on Linux and 104 on macOS, its closing zero included.
MAX_SOCKET_PATH: Final = 103


def make_operator_app(context: HelmContext) -> QuartTrio:
    """Return what the operator's commands speak to: everything."""
    app = _make_app()
    app.register_blueprint(make_status_blueprint(context))
    app.register_blueprint(make_acts_blueprint(context))
    return app


def make_loopback_app(context: HelmContext, hosts: set[str]) -> QuartTrio:
    """Return what browsers on this machine see: the picture, the feed and the page that shows them."""
    app = _make_app()
    guard_loopback(app, hosts)
    app.register_blueprint(make_status_blueprint(context))
    app.register_blueprint(make_spa_blueprint())
    return app


async def serve_operator(
    app: QuartTrio, state: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve the operator's Unix socket, mode 0600 in a directory of mode 0700."""
    path = state / SOCKET_NAME
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise StateFileError(f"{path} is too long for a Unix socket; choose a --state directory with a shorter path")
    # The process lock is ours, so a socket that is there is a dead helm's.
    path.unlink(missing_ok=True)
    config = _config(f"unix:{path}")
    config.umask = 0o177
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(functools.partial(hypercorn.trio.serve, app, config, mode="asgi"))
            task_status.started()
    finally:
        path.unlink(missing_ok=True)


async def serve_loopback(
    app: QuartTrio, host: str, port: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve browsers on one loopback address."""
    with naming_address(host, port, "TCP"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    # The server takes the descriptor over, and closes it.
    config = _config(f"fd://{listener.detach()}")
    async with trio.open_nursery() as nursery:
        await nursery.start(functools.partial(hypercorn.trio.serve, app, config, mode="asgi"))
        task_status.started()


def _make_app() -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    handle_errors(app)
    return app


def _config(bind: str) -> Config:
    config = Config()
    config.bind = [bind]
    config.accesslog = None
    # Through our own handlers, which leave out the line in which it repeats where it listens.
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.h11_max_incomplete_size = 16 * KIB
    config.graceful_timeout = 1
    return config
