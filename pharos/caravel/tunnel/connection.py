"""From a source of ways to a connection: the inner side that it needs, and the session over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn

import attrs
import trio

from pharos.caravel.events import PhaseChanged
from pharos.caravel.reach import Reach
from pharos.caravel.tunnel.candidates import Source
from pharos.caravel.tunnel.choosing import Choosing
from pharos.caravel.tunnel.engine import IDLE
from pharos.caravel.tunnel.inner import InnerKind, open_inner
from pharos.caravel.tunnel.memory import NetworkMemory
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.parts import Inner, Protect
from pharos.caravel.tunnel.session import Tunnel, open_session
from pharos.wire.errors import LocalProtocolError
from pharos.wire.profile import VLESS_REALITY


@attrs.frozen(kw_only=True)
class ConnectionPlan:
    """All that a connection is opened by."""

    source: Source
    wanted: str | None = None
    """A node's id or name: then no other is used."""
    protocol: str | None = None
    inner: InnerKind | str | Inner = InnerKind.FAST
    tun_fd: int | None = None
    """A device of the host's: it stays the host's to close."""
    protect: Protect | None = None
    """What the source's ways were made with, too."""
    options: ConnectOptions = attrs.Factory(ConnectOptions)

    def check(self) -> Choosing:
        """Find out whether there is any way that may be used.

        Raises: NoSuchNodeError, NodeRefusedError, NotEnrolledError, BundleError. LocalProtocolError — there are two
        inner sides.
        """
        if self.tun_fd is not None and isinstance(self.inner, Inner):
            raise LocalProtocolError("a connection has one inner side: inner, or tun_fd")
        choosing = Choosing(self.source, wanted=self.wanted, protocol=self.protocol, floor=self.options.floor)
        choosing.read_first(asks=self.options.confirm is not None)
        return choosing


@asynccontextmanager
async def open_connection(plan: ConnectionPlan, *, memory: NetworkMemory | None = None) -> AsyncIterator[Tunnel]:
    """Keep a connection up while the block lasts; nothing is waited for.

    Raises: as `ConnectionPlan.check` and `open_inner`; OSError, ParameterError — the host's device cannot be used.
    """
    choosing = plan.check()
    async with AsyncExitStack() as stack:
        inner = await _enter_inner(stack, plan, choosing)
        yield await stack.enter_async_context(
            open_session(
                plan.source,
                inner,
                wanted=plan.wanted,
                protocol=plan.protocol,
                protect=plan.protect,
                options=plan.options,
                memory=memory,
            )
        )


async def _enter_inner(stack: AsyncExitStack, plan: ConnectionPlan, choosing: Choosing) -> Inner:
    if isinstance(plan.inner, Inner):
        return plan.inner
    settings = plan.source.settings()
    if plan.tun_fd is not None:
        # Of systems that have such devices.
        from pharos.caravel.tunnel.innerfd import open_fd_inner

        return stack.enter_context(open_fd_inner(plan.tun_fd, mtu=settings.mtu, addresses=settings.addresses))
    if plan.protocol == VLESS_REALITY or (plan.source.is_named and _is_reality_alone(choosing)):
        # Streams and datagrams go by connections of their own: no packet is made here.
        return Inner(far=IDLE, streams=None)
    return await stack.enter_async_context(
        open_inner(plan.inner, addresses=settings.addresses, resolvers=settings.resolvers, mtu=settings.mtu)
    )


def _is_reality_alone(choosing: Choosing) -> bool:
    return all(one.protocol == VLESS_REALITY for one in choosing.known)


async def offer_while_up(
    tunnel: Tunnel, reach: Reach, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Offer a tunnel to who syncs, for as long as it is up."""
    task_status.started()
    watch = tunnel.watch()
    try:
        reach.offer(tunnel if tunnel.is_up and tunnel.has_streams else None)
        async for event in watch:
            if isinstance(event, PhaseChanged):
                reach.offer(tunnel if tunnel.is_up and tunnel.has_streams else None)
        await trio.sleep_forever()
    finally:
        watch.close()
        reach.offer(None)
    raise AssertionError("it ends by cancellation only")
