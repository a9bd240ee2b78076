"""The three ports that the world can reach, each as its daemon serves it: real contexts, real handlers, loopback."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn

import attrs
import trio

from pharos.beacon.ingress import serve_ingress
from pharos.beacon.limiter import PassageLimiter, Rates
from pharos.beacon.shares import UNSHARED
from pharos.beacon.tunnel import serve_tunnel
from pharos.beacon.upstream import Upstreams
from pharos.buoy.control import serve_control
from pharos.buoy.events import EventFeed
from pharos.wire.pki.roles import CONTROL, INGRESS, TUNNEL, ListenerPolicy, Role
from pharos.wire.pki.tls import client_context
from pharos.wire.rpc.transport import SecureStream, open_tls
from pharos.wire.standing import Standing
from tests.support.agents import joined
from tests.support.buoy import make_buoy
from tests.support.pki import home_fleet, utc_now

HOST: Final = "127.0.0.1"


@attrs.frozen(kw_only=True)
class Kind:
    """What a listener is, before it runs."""

    name: str
    policy: ListenerPolicy
    role: Role
    """Whose certificate it shows."""
    welcome: Role
    """Who is let in by certificate."""


KINDS: Final = (
    Kind(name="control", policy=CONTROL, role=Role.NODE, welcome=Role.CONTROLLER),
    Kind(name="tunnel", policy=TUNNEL, role=Role.RELAY, welcome=Role.CONTROLLER),
    Kind(name="ingress", policy=INGRESS, role=Role.RELAY, welcome=Role.DEVICE),
)
BY_NAME: Final = {kind.name: kind for kind in KINDS}


@attrs.frozen(kw_only=True)
class Listener:
    """One of them, running."""

    kind: Kind
    address: tuple[str, int]
    hostname: str
    """What its certificate says."""
    upstreams: Upstreams
    """A beacon's tunnels; none on a buoy."""

    async def dial(self) -> SecureStream:
        """Connect as a welcome peer."""
        return await open_tls(*self.address, welcome_context(self.kind), server_hostname=self.hostname)


@functools.cache
def welcome_context(kind: Kind) -> ssl.SSLContext:
    """What a peer dials with that is let in."""
    return client_context(trust=home_fleet().trust, credentials=home_fleet().member(kind.welcome))


@asynccontextmanager
async def running_listener(name: str, folder: Path, upstreams: Upstreams | None = None) -> AsyncIterator[Listener]:
    """Serve one of `KINDS` while the block runs; ``folder`` is for its state. Both ports of a beacon share one."""
    kind = BY_NAME[name]
    upstreams = Upstreams() if upstreams is None else upstreams
    state = folder / name
    state.mkdir()
    keys = joined(state, kind.role)
    membership = keys.membership(now=utc_now())
    assert membership.identity.dns_name is not None
    serve: Callable[..., Awaitable[NoReturn]]
    if kind.policy is CONTROL:
        node = make_buoy(state, keys=keys, membership=membership).node
        serve = functools.partial(serve_control, node, EventFeed())
    elif kind.policy is TUNNEL:
        serve = functools.partial(serve_tunnel, upstreams, standing=Standing(membership))
    else:
        # One device plays all, and has everything.
        limiter = PassageLimiter(Rates(shares=UNSHARED))
        serve = functools.partial(serve_ingress, upstreams, standing=Standing(membership), limiter=limiter)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(functools.partial(serve, host=HOST, port=0))
        yield Listener(kind=kind, address=address, hostname=membership.identity.dns_name, upstreams=upstreams)
        nursery.cancel_scope.cancel()
