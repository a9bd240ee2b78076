"""The inside of a connection: how a program's streams become IP packets, or whose packets they are.

It outlives every leg. A device has the same addresses at each node, so a change of node is to a stream what a change of
route is on any network.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TypeAlias

from pharos.caravel.errors import NoNamespaceError
from pharos.caravel.tunnel.parts import Inner
from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.errors import ParameterError

log = logging.getLogger(__name__)

IpAddress: TypeAlias = IPv4Address | IPv6Address
IpInterface: TypeAlias = IPv4Interface | IPv6Interface


class InnerKind(enum.StrEnum):
    """Who makes packets of what a program sends."""

    NETSTACK = "netstack"
    """TCP/IP in Python: everywhere."""
    USERNS = "userns"
    """Linux's own, in a user namespace, where programs are let: faster, for Python has the tunnel alone to do."""
    FAST = "fast"
    """The second where it works, else the first."""


@asynccontextmanager
async def open_inner(
    kind: InnerKind | str,
    *,
    addresses: Sequence[IpInterface],
    resolvers: Sequence[IpAddress] = (),
    mtu: int = DEFAULT_MTU,
) -> AsyncIterator[Inner]:
    """Have an inside while the block lasts; the streams that were opened over it are closed by then.

    ``addresses`` are this device's inside the tunnel, at least one. Names are asked of ``resolvers``, through the
    tunnel: without them every name is an error. ``mtu``: octets of a packet.

    Raises: NoNamespaceError — ``kind`` is USERNS, and this system has none. ParameterError — there is no such kind.
    """
    try:
        kind = InnerKind(kind)
    except ValueError:
        raise ParameterError(f"inner = {kind!r}: must be one of {', '.join(InnerKind)}") from None
    async with AsyncExitStack() as stack:
        inner: Inner | None = None
        if kind is InnerKind.USERNS or (kind is InnerKind.FAST and not _known_why):
            try:
                inner = await stack.enter_async_context(_open_userns_inner(addresses, resolvers, mtu))
            except NoNamespaceError as error:
                if kind is InnerKind.USERNS:
                    raise
                _known_why.append(str(error))
                log.info("%s; TCP is made in Python", error)
        if inner is None:
            inner = await stack.enter_async_context(_open_netstack_inner(addresses, resolvers, mtu))
        yield inner


_known_why: list[str] = []
"""Why there are no namespaces here: a fact of the system, which each process finds out once."""


async def probe_userns() -> str:
    """Return why this process gets no network in a user namespace, as a sentence; nothing if it gets one.

    It is found out by making one, which takes 30 ms.
    """
    # Only Linux has it.
    from pharos.caravel.tunnel.userns import open_userns

    if not _known_why:
        try:
            async with open_userns(addresses=[IPv4Interface("192.0.2.1/32")], mtu=DEFAULT_MTU):
                return ""
        except NoNamespaceError as error:
            _known_why.append(str(error))
    return _known_why[0]


@asynccontextmanager
async def _open_netstack_inner(
    addresses: Sequence[IpInterface], resolvers: Sequence[IpAddress], mtu: int
) -> AsyncIterator[Inner]:
    from pharos.wire.awg.memory import memory_link
    from pharos.wire.awg.netstack.stack import open_netstack

    near, far = memory_link()
    try:
        async with open_netstack(near, addresses=addresses, resolvers=resolvers, mtu=mtu) as netstack:
            yield Inner(far=far, streams=netstack, path_changed=netstack.path_changed)
    finally:
        near.close()


@asynccontextmanager
async def _open_userns_inner(
    addresses: Sequence[IpInterface], resolvers: Sequence[IpAddress], mtu: int
) -> AsyncIterator[Inner]:
    """Raises: NoNamespaceError."""
    from pharos.caravel.tunnel.userns import open_userns
    from pharos.caravel.tunnel.usernsstreams import UsernsStreams

    async with open_userns(addresses=addresses, mtu=mtu) as (userns, tun):
        own = [address.ip for address in userns.addresses]
        streams = UsernsStreams(userns, addresses=own, resolvers=resolvers)
        yield Inner(far=tun, streams=streams, path_changed=streams.path_changed)
