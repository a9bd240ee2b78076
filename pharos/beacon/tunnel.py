"""The tunnel listener: helm dials in as TLS client and then serves HTTP/2 on that connection; we are its client."""

from __future__ import annotations

import datetime
import logging
from typing import NoReturn

import trio

from pharos.beacon.upstream import Upstreams
from pharos.wire.agent import Membership
from pharos.wire.pki.roles import TUNNEL
from pharos.wire.pki.tls import server_context
from pharos.wire.pki.verify import admit_peer
from pharos.wire.rpc.flow import TUNNEL as TUNNEL_WINDOWS
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.transport import SecureStream, serve_tls

log = logging.getLogger(__name__)


async def serve_tunnel(
    upstreams: Upstreams,
    *,
    membership: Membership,
    host: str,
    port: int,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the tunnel port; ``started`` is called with the bound address."""

    async def handle(stream: SecureStream) -> None:
        now = datetime.datetime.now(datetime.UTC)
        identity = admit_peer(TUNNEL, stream.peer_certificate, trust=membership.trust, now=now)
        peer = Peer(address=stream.peer_address, certificate=stream.peer_certificate, identity=identity)
        connection = Connection(stream, client_side=True, windows=TUNNEL_WINDOWS, peer=peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            await connection.wait_up()
            with upstreams.joined(connection):
                log.info("helm arrived from %s; %d tunnels", stream.peer_address[0], len(upstreams))
                await connection.wait_closed()
        log.info("a tunnel to helm ended: %s", connection.error)

    context = server_context(membership.credentials, trust=membership.trust, policy=TUNNEL)
    await serve_tls(handle, host=host, port=port, context=context, task_status=task_status)
