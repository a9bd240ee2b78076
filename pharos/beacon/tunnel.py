"""The tunnel listener: helm dials in as TLS client and then serves HTTP/2 on that connection; we are its client."""

from __future__ import annotations

import datetime
import logging
from typing import Final, NoReturn

import trio

from pharos.beacon.upstream import Upstreams
from pharos.wire.agent import Membership
from pharos.wire.pki.roles import TUNNEL
from pharos.wire.pki.tls import server_context
from pharos.wire.pki.verify import admit_peer
from pharos.wire.rpc.flow import TUNNEL as TUNNEL_WINDOWS
from pharos.wire.rpc.flow import Holdings
from pharos.wire.rpc.guard import TUNNEL_ALLOWANCE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.transport import SecureStream, serve_tls

log = logging.getLogger(__name__)

# The twelve that a helm keeps at most, and four more: a helm that comes back finds room while the tunnels of its
# former self, of which nobody has told us that they are dead, are found silent (45 s).
MAX_TUNNELS: Final = 12 + 4


async def serve_tunnel(
    upstreams: Upstreams,
    *,
    membership: Membership,
    host: str,
    port: int,
    holdings: Holdings | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the tunnel port; ``started`` is called with the bound address."""
    tunnels = 0

    async def handle(stream: SecureStream) -> None:
        nonlocal tunnels
        now = datetime.datetime.now(datetime.UTC)
        identity = admit_peer(TUNNEL, stream.peer_certificate, trust=membership.trust, now=now)
        if tunnels >= MAX_TUNNELS:
            log.warning("helm has %d tunnels; one more from %s is refused", tunnels, stream.peer_address[0])
            return
        peer = Peer(address=stream.peer_address, certificate=stream.peer_certificate, identity=identity)
        tunnels += 1
        try:
            await run_tunnel(upstreams, stream, peer=peer, holdings=holdings)
        finally:
            tunnels -= 1

    context = server_context(membership.credentials, trust=membership.trust, policy=TUNNEL)
    await serve_tls(handle, host=host, port=port, context=context, task_status=task_status)


async def run_tunnel(
    upstreams: Upstreams, stream: trio.abc.Stream, *, peer: Peer, holdings: Holdings | None = None
) -> None:
    """Offer one connection of helm's to passages until it ends. It has 10 s for its SETTINGS, as every peer."""
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
        with upstreams.joined(connection):
            log.info("helm arrived from %s; %d tunnels", where, len(upstreams))
            await connection.wait_closed()
    log.info("a tunnel to helm ended: %s", connection.error)
