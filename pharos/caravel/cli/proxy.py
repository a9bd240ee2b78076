"""`caravel proxy`: SOCKS 5 and HTTP CONNECT on loopback, through a node."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import click
import trio

from pharos.caravel.cli.common import json_option, run, state_option, stop_on_signal, unlocking
from pharos.caravel.cli.links import read_link
from pharos.caravel.cli.posture import managed_device
from pharos.caravel.client import open_client
from pharos.caravel.errors import AlreadyRunningError
from pharos.caravel.profiles.confs import KeptConf
from pharos.caravel.profiles.links import SCHEME
from pharos.caravel.running import SOCKET_NAME, open_control, running_tunnel
from pharos.caravel.tunnel.keptways import find_kept, open_kept
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.parts import StreamOpener
from pharos.caravel.tunnel.proxy import SOCKS_PORT, Place, ProxyPlan, serve_proxies
from pharos.caravel.tunnel.reality import RealityTunnel
from pharos.caravel.tunnel.realityways import open_link_reality
from pharos.caravel.tunnel.session import Tunnel
from pharos.wire.console import print_json, reports_errors
from pharos.wire.errors import ConfigError, LocalProtocolError
from pharos.wire.reality.front import LOOPBACK
from pharos.wire.reality.socks import Credentials
from pharos.wire.tasks import open_background
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

WAIT_UP = 15 * SECONDS
"""For the node to let us in at the start: as long as one handshake may take (`CONNECT_TIMEOUT`)."""


class PlaceType(click.ParamType[Place]):
    """An IP address and a port, or a port of loopback."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        if isinstance(value, tuple):
            return value
        host, colon, port = value.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) < 65536 and (host or not colon)):
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return host.removeprefix("[").removesuffix("]") or LOOPBACK, int(port)


@click.command("proxy")
@state_option
@click.option("--node", help="Id or name of a node of your fleet (default: the first that is known).")
@click.option("--link", help="Name of what was imported instead, or a vless:// link; '-' reads it from standard input.")
@click.option("--socks", type=PlaceType(), help=f"Serve SOCKS 5 here (default: {SOCKS_PORT}, without --http).")
@click.option("--http", type=PlaceType(), help="Serve HTTP CONNECT here.")
@click.option("--login", metavar="USER:PASSWORD|@FILE", help="Ask for these; a FILE keeps them out of others' sight.")
@click.option("--anywhere", is_flag=True, help="Allow addresses beside loopback's; takes --login.")
@json_option
@reports_errors
def proxy_(
    state: Path,
    node: str | None,
    link: str | None,
    socks: Place | None,
    http: Place | None,
    login: str | None,
    *,
    anywhere: bool,
    as_json: bool,
) -> None:
    """Carry this machine's connections through a node, until Ctrl-C. Neither root nor helm is needed.

    It goes on through another node or protocol when one falls silent. Port 0 takes one that is free. Without --login,
    every program of this machine may use the proxy.

    \b
    Example:
      caravel proxy --node amsterdam
      curl --proxy socks5h://127.0.0.1:1080 https://example.org/
      caravel proxy --link cafe --socks 1080 --http 8080
    """
    if node is not None and link is not None:
        raise click.UsageError("--node and --link exclude each other")
    if anywhere and login is None:
        raise click.UsageError("--anywhere takes --login: others could use your tunnel")
    if socks is None and http is None:
        socks = LOOPBACK, SOCKS_PORT
    plan = ProxyPlan(
        socks=socks, http=http, credentials=None if login is None else _credentials(login), anywhere=anywhere
    )
    by_link = None if link is None else _open_link(state, link)

    managed = managed_device()

    async def serve() -> None:
        if by_link is not None:
            await _serve(by_link, plan, as_json=as_json)
            return
        async with open_client(state, unlocking=unlocking(), managed=managed) as client:
            opened = client.connect(node, options=ConnectOptions(follow=True))
            await _serve(_shown(opened, state), plan, as_json=as_json)

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    run(serve)


class Served(StreamOpener, Protocol):
    """What proxies are served over."""

    @property
    def name(self) -> str: ...

    async def wait_up(self, timeout: float) -> Any: ...


@asynccontextmanager
async def _shown(opened: AbstractAsyncContextManager[Tunnel], state: Path) -> AsyncIterator[Tunnel]:
    """Let `caravel status` and `caravel watch` look at the tunnel; a second one of the same device goes unseen."""
    async with opened as tunnel, AsyncExitStack() as stack:
        running = running_tunnel(tunnel, {"system": False, "pid": os.getpid()}, {})
        try:
            await stack.enter_async_context(open_control(state / SOCKET_NAME, running))
        except (AlreadyRunningError, OSError) as error:
            log.info("this tunnel cannot be looked at: %s", error)
        yield tunnel


async def _serve(opened: AbstractAsyncContextManager[Served], plan: ProxyPlan, *, as_json: bool) -> None:
    """Serve until SIGINT or SIGTERM, which are the ordinary end."""
    with trio.CancelScope() as scope:
        start = trio.current_time()
        async with open_background(functools.partial(stop_on_signal, scope)), opened as tunnel:
            await tunnel.wait_up(WAIT_UP)
            seconds = trio.current_time() - start
            async with open_background(functools.partial(serve_proxies, tunnel, plan)) as bound:
                _tell(tunnel.name, seconds, bound, as_json=as_json)
                await trio.sleep_forever()


def _tell(name: str, seconds: float, bound: dict[str, Place], *, as_json: bool) -> None:
    places = {name: f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for name, (host, port) in bound.items()}
    if as_json:
        print_json({"through": name, "handshake_ms": round(seconds * 1000, 1), **places})
        return
    click.echo(f"{name} lets this device in; it took {seconds * 1000:.1f} ms")
    for scheme, place in places.items():
        click.echo(f"{_SCHEMES[scheme]}://{place}")
    click.echo("Ctrl-C ends it.")


_SCHEMES = {"socks": "socks5h", "http": "http"}


def _open_link(state: Path, wanted: str) -> AbstractAsyncContextManager[RealityTunnel | Tunnel]:
    if wanted == "-" or wanted.startswith(SCHEME):
        return open_link_reality(read_link(wanted))
    kept = find_kept(state, wanted, unlocking())
    return open_kept(kept) if isinstance(kept, KeptConf) else open_link_reality(kept.link, kept.options)


def _credentials(login: str) -> Credentials:
    if login.startswith("@"):
        text = Path(login[1:]).read_text(encoding="utf-8").partition("\n")[0].removesuffix("\r")
    else:
        text = login
    user, colon, password = text.partition(":")
    try:
        if colon:
            return Credentials(user.encode(), password.encode())
    except LocalProtocolError:
        pass
    raise ConfigError("--login: must be USER:PASSWORD, of 1 to 255 octets each")
