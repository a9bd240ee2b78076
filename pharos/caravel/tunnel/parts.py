"""What a connection is made of: an inner side that lasts, and legs to nodes that come and go under it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs
import trio

from pharos.wire.awg.inner import InnerEnd
from pharos.wire.awg.ping import PingReport
from pharos.wire.reality.front import DatagramTunnel

if TYPE_CHECKING:
    # Of Linux; who only reads types must not need it.
    from pharos.wire.awg.tun import Tun

Protect: TypeAlias = Callable[[socket.socket], None]
"""Called with each socket that has to stay outside the tunnel, before it is used: it sets a mark, or asks the host to.

Raises: OSError.
"""


class StreamOpener(Protocol):
    """Opens streams and datagram sockets whose other end is beyond a node."""

    async def open_tcp_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        """Connect to a host, by name or address; the caller owns the stream.

        Raises: OSError, trio.BrokenResourceError, WireError — it cannot be reached.
        """
        ...

    async def open_udp(self) -> DatagramTunnel:
        """Return a socket of its own, which the caller owns. Raises: as `open_tcp_stream`."""
        ...


@attrs.frozen(kw_only=True)
class Inner:
    """The inside of a connection, which outlives every leg: what a program's streams hang on, or the host's packets."""

    far: InnerEnd | Tun
    """What the engine of a leg carries packets to and from; one leg at a time."""
    streams: StreamOpener | None
    """Over whatever leg carries packets now; None where packets are the host's own affair."""
    path_changed: Callable[[], None] = lambda: None
    """Said by a leg that begins to carry, or has another address of ours: what waits for its time goes on at once."""


@attrs.frozen(kw_only=True)
class Traffic:
    """What went through a leg since it was opened. Octets are of packets or of streams, as the protocol counts."""

    received: int = 0
    sent: int = 0
    heard_at: float | None = None
    """When the node was last heard for sure, by Trio's clock; None: not yet."""


@attrs.frozen(kw_only=True)
class Place:
    """Where a leg leads now."""

    endpoint: tuple[str, int] | None = None
    """The node's, outside."""
    handshake_age: float | None = None
    """Seconds since the node proved itself last; None where it has not, or the protocol has no sessions."""


class Leg(Protocol):
    """One way to one node that is up or coming up; it ends with the block that opened it."""

    protocol: str
    """`pharos.wire.profile.AMNEZIAWG` or `VLESS_REALITY`."""

    async def wait_up(self, timeout: float) -> float:
        """Wait until the node lets us in; return the seconds that it took.

        Raises: NoAnswerError, LinkRefusedError, RealCertificateError.
        """
        ...

    async def wait_lost(self) -> str:
        """Wait until the node is not there any more; return why, in a few words."""
        ...

    async def wait_found(self) -> None:
        """Wait until a node that was lost is there again; it may be waited for at any time."""
        ...

    def traffic(self) -> Traffic: ...

    def place(self) -> Place: ...

    async def carry(self) -> None:
        """Carry the inner side's packets from now on; before, a leg proves that the node lets us in and no more."""
        ...

    async def retire(self) -> None:
        """Take no more packets from the inner side: another leg may carry then. What still comes is delivered."""
        ...

    async def rebind(self) -> None:
        """Go on from another local address: the machine has slept, or is in another network. What lives is kept."""
        ...

    async def adopt(self, candidate: Candidate) -> bool:
        """Go on by what a newer profile says of the same node, and end nothing; False: that takes a leg of its own."""
        ...

    async def ping(self, count: int) -> PingReport:
        """Ask the node ``count`` times whether it is there, inside the tunnel where that can be."""
        ...

    @property
    def streams(self) -> StreamOpener | None:
        """What opens streams over this leg: its own, or the inner side's; None where there are none."""
        ...


OpenLeg: TypeAlias = Callable[[Inner], AbstractAsyncContextManager[Leg]]


@attrs.frozen(kw_only=True)
class Candidate:
    """A way that may be chosen."""

    node: str
    """The node's id; of a link or a configuration its name."""
    name: str
    """For people."""
    protocol: str
    tags: tuple[str, ...] = ()
    place: tuple[str, int]
    """Host and port that are dialled first: for reachability, and for what is remembered of a network."""
    open: OpenLeg
    hides: bool = True
    """Whether who watches sees something else than a VPN: False of plain WireGuard, which is below every floor."""
    plan: object = attrs.field(default=None, repr=False)
    """What its leg goes by; equal plans lead the same way."""
