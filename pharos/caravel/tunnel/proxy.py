"""SOCKS 5 and HTTP CONNECT on loopback, over one tunnel of any kind."""

from __future__ import annotations

import functools
from typing import Any, Final, NoReturn

import attrs
import trio

from pharos.caravel.tunnel.parts import StreamOpener
from pharos.wire.reality.front import LOOPBACK
from pharos.wire.reality.httpproxy import serve_http_proxy
from pharos.wire.reality.socks import Credentials
from pharos.wire.reality.socksserver import serve_socks

SOCKS_PORT: Final = 1080
"""As registered (RFC 1928 §3)."""

Place = tuple[str, int]


@attrs.frozen(kw_only=True)
class ProxyPlan:
    """Where to listen; at least one of both."""

    socks: Place | None = (LOOPBACK, SOCKS_PORT)
    """IP address and port, as `http`; port 0 is one that is free."""
    http: Place | None = None
    credentials: Credentials | None = None
    """What both ask for; without, every program of this machine may use the tunnel."""
    anywhere: bool = False
    """Whether other addresses than loopback's will do."""


async def serve_proxies(
    tunnel: StreamOpener,
    plan: ProxyPlan,
    *,
    task_status: trio.TaskStatus[dict[str, Place]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; ``started`` with what listens, by ``socks`` and ``http``.

    Raises: ConfigError — an address is not of loopback, or open to all; AddressError — it cannot be listened on.
    """
    common: Any = {
        "open_tcp": tunnel.open_tcp_stream,
        "credentials": plan.credentials,
        "anywhere": plan.anywhere,
    }
    socks = functools.partial(serve_socks, open_udp=tunnel.open_udp, **common)
    http = functools.partial(serve_http_proxy, **common)
    bound: dict[str, Place] = {}
    async with trio.open_nursery() as nursery:
        for name, serve, place in (("socks", socks, plan.socks), ("http", http, plan.http)):
            if place is not None:
                host, port = place
                bound[name] = await nursery.start(functools.partial(serve, host=host, port=port))
        task_status.started(bound)
    raise AssertionError("they end by cancellation only")
