"""The link to one beacon: tunnels that helm dials as TLS client, to be the HTTP/2 server on them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from pharos.helm.ca.live import LiveAuthority
from pharos.helm.fleet.dial import dial_member
from pharos.helm.live.board import Board
from pharos.helm.model.relays import Relay
from pharos.helm.relay.aboard import Aboard
from pharos.helm.relay.edge import Count, PassageEdge
from pharos.helm.relay.orders import RelayOrders, is_for_orders
from pharos.helm.relay.tunnels import TunnelLoad, TunnelPlanner
from pharos.wire.chance import fraction
from pharos.wire.errors import LinkLostError, LinkRefusedError
from pharos.wire.ids import RelayId
from pharos.wire.link import Backoff
from pharos.wire.passage.records import MAX_FRAME
from pharos.wire.passage.server import SESSION_LIMIT
from pharos.wire.pki.roles import Role
from pharos.wire.rpc.flow import TUNNEL, Wakeup
from pharos.wire.rpc.guard import TUNNEL_ALLOWANCE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2core import Accept
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.limits import TUNNEL_STREAMS
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import Service
from pharos.wire.rpc.status import ConnectionLostError
from pharos.wire.rpc.transport import SecureStream

log = logging.getLogger(__name__)

# A frame of a passage with protobuf around it, and not the 1 MiB that other calls may have: a beacon could fill it.
MAX_FRAME_MESSAGE: Final = MAX_FRAME + 64

OpenStream = Callable[[], Awaitable[tuple[trio.abc.Stream, Peer]]]


class RelayLinks:
    """Dials beacons; what comes in through them is the edge's affair."""

    def __init__(
        self, *, authorities: LiveAuthority, edge: PassageEdge, board: Board, aboard: Aboard | None = None
    ) -> None:
        self._authorities = authorities
        self._aboard = aboard
        self._edge = edge
        self._board = board

    @asynccontextmanager
    async def dial(self, relay: Relay) -> AsyncIterator[RelayLink]:
        """Open the first tunnel to a beacon; it is up when the beacon's SETTINGS have arrived.

        Raises: LinkLostError, LinkRefusedError.
        """
        sighting = self._board.of(relay.id)

        def count_passages(change: int) -> None:
            # Changes only: a link that is being replaced may still be counting its last ones off.
            sighting.peers += change

        accept = accept_relay(self._edge, relay.id, count_passages)

        async def open_stream() -> tuple[SecureStream, Peer]:
            return await dial_member(self._authorities.current, Role.RELAY, relay.id, relay.address, relay.tunnel_port)

        if not relay.aboard:
            async with open_relay_link(open_stream, accept, name=relay.name) as link:
                yield link
        elif self._aboard is None:
            raise LinkLostError('helm was started without its own beacon; set beacon = "on", or disable the relay')
        else:
            async with (
                self._aboard.open(relay) as beacon,
                open_relay_link(beacon.open_stream, accept, name=relay.name) as link,
            ):
                yield link


def accept_relay(edge: PassageEdge, relay_id: RelayId, count: Count) -> Accept:
    """Return what a tunnel does with a beacon's streams: two services, and whatever else is asked for UNIMPLEMENTED."""
    passages = Service([edge.for_relay(relay_id, count)], max_message=MAX_FRAME_MESSAGE)
    orders = Service([RelayOrders(edge.context, relay_id, run=edge.run)])

    async def accept(stream: H2Stream) -> None:
        await (orders if is_for_orders(stream) else passages)(stream)

    return accept


@asynccontextmanager
async def open_relay_link(
    open_stream: OpenStream, accept: Accept, *, name: str, backoff: Backoff | None = None
) -> AsyncIterator[RelayLink]:
    """Open a link whose tunnels run on what ``open_stream`` gives, and serve their streams by ``accept``.

    Raises: LinkLostError, LinkRefusedError — the first tunnel does not come up.
    """
    async with trio.open_nursery() as tunnel_nursery:
        link = RelayLink(
            open_stream,
            accept,
            name=name,
            backoff=backoff or Backoff(random=fraction),
            tunnel_nursery=tunnel_nursery,
        )
        await link.open_tunnel()
        yield link
        tunnel_nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class _Tunnel:
    connection: Connection
    passages: int = 0

    @property
    def load(self) -> TunnelLoad:
        try:
            self.connection.check_open()
        except ConnectionLostError:
            return TunnelLoad(self.passages, draining=True)
        return TunnelLoad(self.passages)


class RelayLink:
    """The tunnels to one beacon, as many as its passages need."""

    def __init__(
        self,
        open_stream: OpenStream,
        accept: Accept,
        *,
        name: str,
        backoff: Backoff,
        tunnel_nursery: trio.Nursery,
    ) -> None:
        self._open_stream = open_stream
        self._accept = accept
        self._name = name
        self._backoff = backoff
        self._tunnel_nursery = tunnel_nursery
        self._planner = TunnelPlanner()
        self._tunnels: list[_Tunnel] = []
        self._dialling = False
        self._changed = Wakeup()
        self._reason = ""

    async def run(self) -> None:
        """Serve passages until the last tunnel has ended, opening and closing others by need.

        Raises: LinkLostError.
        """
        while self._tunnels:
            plan = self._planner.plan([tunnel.load for tunnel in self._tunnels], trio.current_time())
            if plan.drain is not None:
                log.info("relay %s: one of %d tunnels is not needed", self._name, len(self._tunnels))
                # Its passages end by themselves, none later than that.
                self._tunnel_nursery.start_soon(self._tunnels[plan.drain].connection.drain, SESSION_LIMIT)
            if plan.dial and not self._dialling:
                self._dialling = True
                self._tunnel_nursery.start_soon(self._open_another)
            with trio.move_on_at(plan.review_at):
                await self._changed.wait()
        raise LinkLostError(self._reason or "the beacon closed the tunnel")

    async def open_tunnel(self) -> None:
        """Open one more tunnel and wait until it is up.

        Raises: LinkLostError, LinkRefusedError.
        """
        stream, peer = await self._open_stream()

        async def accept(stream: H2Stream) -> None:
            tunnel.passages += 1
            self._changed.wake()
            try:
                await self._accept(stream)
            finally:
                tunnel.passages -= 1
                self._changed.wake()

        tunnel = _Tunnel(
            Connection(
                stream,
                client_side=False,
                windows=TUNNEL,
                accept=accept,
                peer=peer,
                max_streams=TUNNEL_STREAMS,
                allowance=TUNNEL_ALLOWANCE,
            )
        )
        self._tunnel_nursery.start_soon(self._run_tunnel, tunnel)
        await tunnel.connection.wait_up()
        self._tunnels.append(tunnel)
        self._changed.wake()

    async def _run_tunnel(self, tunnel: _Tunnel) -> None:
        connection = tunnel.connection
        await connection.run()
        if tunnel in self._tunnels:
            self._tunnels.remove(tunnel)
            self._reason = str(connection.error or "")
            log.info("relay %s: a tunnel ended, %d remain", self._name, len(self._tunnels))
            self._changed.wake()

    async def _open_another(self) -> None:
        try:
            await self.open_tunnel()
            self._backoff.reset()
            log.info("relay %s: %d tunnels", self._name, len(self._tunnels))
        except (LinkLostError, LinkRefusedError) as error:
            # The link stands on its other tunnels. If it falls, its next dial meets this trouble and tells it.
            delay = self._backoff.next()
            log.info("relay %s: no further tunnel (%s); next dial in %.1f s", self._name, error, delay)
            await trio.sleep(delay)
        finally:
            self._dialling = False
        self._changed.wake()
