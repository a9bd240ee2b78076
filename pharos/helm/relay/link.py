"""The tunnel to one beacon: helm dials as TLS client, and then is the HTTP/2 server on that connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from pharos.helm.ca.authority import Authority
from pharos.helm.fleet.dial import dial_member, errors_as_fates
from pharos.helm.live.board import Board
from pharos.helm.model.relays import Relay
from pharos.helm.relay.edge import PassageEdge
from pharos.wire.errors import LinkLostError
from pharos.wire.passage.records import MAX_FRAME
from pharos.wire.pki.roles import Role
from pharos.wire.rpc.flow import TUNNEL
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.limits import TUNNEL_STREAMS
from pharos.wire.rpc.server import Service

# A frame of a passage with protobuf around it, and not the 1 MiB that other calls may have: a beacon could fill it.
MAX_FRAME_MESSAGE: Final = MAX_FRAME + 64


class RelayLinks:
    """Dials beacons; what comes in through them is the edge's affair."""

    def __init__(self, *, authority: Authority, edge: PassageEdge, board: Board) -> None:
        self._authority = authority
        self._edge = edge
        self._board = board

    @asynccontextmanager
    async def dial(self, relay: Relay) -> AsyncIterator[RelayLink]:
        """Open the tunnel to a beacon; it is up when the beacon's SETTINGS have arrived.

        Raises: LinkLostError, LinkRefusedError.
        """
        stream, peer = await dial_member(self._authority, Role.RELAY, relay.id, relay.address, relay.tunnel_port)
        sighting = self._board.of(relay.id)

        def count_passages(change: int) -> None:
            sighting.peers += change

        connection = Connection(
            stream,
            client_side=False,
            windows=TUNNEL,
            # The tunnel carries one service only: whatever else a beacon asks for is UNIMPLEMENTED.
            accept=Service([self._edge.for_relay(relay.id, count_passages)], max_message=MAX_FRAME_MESSAGE),
            peer=peer,
            max_streams=TUNNEL_STREAMS,
        )
        with errors_as_fates():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run)
                await connection.wait_up()
                sighting.peers = 0
                yield RelayLink(connection)
                nursery.cancel_scope.cancel()


class RelayLink:
    """One tunnel that is up."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def run(self) -> None:
        """Serve passages until the tunnel ends.

        Raises: LinkLostError.
        """
        await self._connection.wait_closed()
        raise LinkLostError(str(self._connection.error or "the beacon closed the tunnel"))
