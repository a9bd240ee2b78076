"""The tunnel listener: helm dials in as TLS client and then serves HTTP/2 on that connection; we are its client."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from pharos.beacon.decoy.front import Decoy
from pharos.beacon.upstream import MAX_TUNNELS, Tunnel, Upstreams
from pharos.wire.pki.roles import TUNNEL
from pharos.wire.rpc.flow import TUNNEL as TUNNEL_WINDOWS
from pharos.wire.rpc.flow import Holdings
from pharos.wire.rpc.guard import TUNNEL_ALLOWANCE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.transport import SecureStream, TlsStream, serve_tls
from pharos.wire.standing import Standing
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

# Handshakes that helm may have in progress beside the tunnels that are up.
_ARRIVING: Final = 8
# Passages of a helm that another has taken over from have so long to end by themselves. Their devices then come back,
# to the newer one.
SUPERSEDED_TIME: Final = 30 * SECONDS

Attend = Callable[[Connection], Awaitable[None]]
"""What else a beacon does on a tunnel."""


async def serve_tunnel(
    upstreams: Upstreams,
    *,
    standing: Standing,
    host: str,
    port: int,
    holdings: Holdings | None = None,
    attend: Attend | None = None,
    decoy: Decoy | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the tunnel port; ``started`` is called with the bound address. Strangers are shown the ``decoy``."""
    tunnels = 0

    async def handle(stream: SecureStream) -> None:
        nonlocal tunnels
        if decoy is not None and await decoy.serve(stream):
            return
        certificate = stream.peer_certificate
        identity = standing.admit(TUNNEL, certificate)
        if tunnels >= MAX_TUNNELS + _ARRIVING:
            log.warning("helm dials too often; one more tunnel from %s is refused", stream.peer_address[0])
            return
        peer = Peer(address=stream.peer_address, certificate=certificate, identity=identity)
        tunnels += 1
        try:
            with standing.session(identity, certificate):
                await run_tunnel(upstreams, stream, peer=peer, holdings=holdings, attend=attend)
        finally:
            tunnels -= 1

    context = functools.partial(standing.context, TUNNEL)
    await serve_tls(
        handle,
        host=host,
        port=port,
        context=context,
        transport=TlsStream if decoy is None else decoy.transport,
        task_status=task_status,
    )


async def run_tunnel(
    upstreams: Upstreams,
    stream: trio.abc.Stream,
    *,
    peer: Peer,
    holdings: Holdings | None = None,
    attend: Attend | None = None,
) -> None:
    """Offer one connection of helm's to passages until it ends. It has 10 s for its SETTINGS, as every peer.

    ``attend`` runs beside them, as long as the connection is up.
    """
    connection = Connection(
        stream,
        client_side=True,
        windows=TUNNEL_WINDOWS,
        peer=peer,
        allowance=TUNNEL_ALLOWANCE,
        holdings=holdings,
    )
    where = "this process" if peer.address is None else peer.address[0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await connection.wait_up()
        with upstreams.joined(connection, reserved=0 if attend is None else 1) as tunnel:
            log.info("helm arrived from %s; %d tunnels", where, len(upstreams))
            async with trio.open_nursery() as attending:
                attending.start_soon(upstreams.settle, tunnel)
                attending.start_soon(_give_way, tunnel)
                if attend is not None:
                    attending.start_soon(attend, connection)
                await connection.wait_closed()
                attending.cancel_scope.cancel()
    log.info("a tunnel to helm ended: %s", connection.error)


async def _give_way(tunnel: Tunnel) -> None:
    """End a tunnel that still carries passages when another helm takes over; one that carries none may stay."""
    while True:
        await tunnel.superseded.wait()
        tunnel.superseded = trio.Event()
        if tunnel.passages:
            log.warning("another helm has taken over; a tunnel of the one before ends")
            await tunnel.connection.drain(SUPERSEDED_TIME)
