"""The tunnel listener: helm dials in as TLS client and then serves HTTP/2 on that connection; we are its client."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from pharos.beacon.upstream import Upstreams
from pharos.wire.pki.roles import TUNNEL
from pharos.wire.rpc.flow import TUNNEL as TUNNEL_WINDOWS
from pharos.wire.rpc.flow import Holdings
from pharos.wire.rpc.guard import TUNNEL_ALLOWANCE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.transport import SecureStream, serve_tls
from pharos.wire.standing import Standing

log = logging.getLogger(__name__)

# The twelve that a helm keeps at most, and four more: a helm that comes back finds room while the tunnels of its
# former self, of which nobody has told us that they are dead, are found silent (45 s).
MAX_TUNNELS: Final = 12 + 4

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
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the tunnel port; ``started`` is called with the bound address."""
    tunnels = 0

    async def handle(stream: SecureStream) -> None:
        nonlocal tunnels
        certificate = stream.peer_certificate
        identity = standing.admit(TUNNEL, certificate)
        if tunnels >= MAX_TUNNELS:
            log.warning("helm has %d tunnels; one more from %s is refused", tunnels, stream.peer_address[0])
            return
        peer = Peer(address=stream.peer_address, certificate=certificate, identity=identity)
        tunnels += 1
        try:
            with standing.session(identity, certificate):
                await run_tunnel(upstreams, stream, peer=peer, holdings=holdings, attend=attend)
        finally:
            tunnels -= 1

    context = functools.partial(standing.context, TUNNEL)
    await serve_tls(handle, host=host, port=port, context=context, task_status=task_status)


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
    where = None if peer.address is None else peer.address[0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await connection.wait_up()
        with upstreams.joined(connection, reserved=0 if attend is None else 1):
            log.info("helm arrived from %s; %d tunnels", where, len(upstreams))
            async with trio.open_nursery() as attending:
                if attend is not None:
                    attending.start_soon(attend, connection)
                await connection.wait_closed()
                attending.cancel_scope.cancel()
    log.info("a tunnel to helm ended: %s", connection.error)
