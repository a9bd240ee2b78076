"""The client ingress: terminates client mTLS and forwards passages, of peers with a certificate or about to get one."""

from __future__ import annotations

import datetime
import functools
import hashlib
import logging
from typing import NoReturn

import trio
from grpclib.const import Status

from pharos.beacon.forward import forward
from pharos.beacon.sanitize import Refusal, forwarded_headers
from pharos.beacon.upstream import Upstreams
from pharos.wire.agent import Membership
from pharos.wire.pki.roles import INGRESS
from pharos.wire.pki.tls import server_context
from pharos.wire.pki.verify import admit_peer
from pharos.wire.rpc.flow import EDGE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.limits import EDGE_STREAMS
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import refuse
from pharos.wire.rpc.transport import SecureStream, serve_tls

log = logging.getLogger(__name__)

_STATUS = {
    Refusal.UNKNOWN_METHOD: Status.UNIMPLEMENTED,
    Refusal.NEEDS_CERTIFICATE: Status.UNAUTHENTICATED,
    Refusal.BAD_REQUEST: Status.INVALID_ARGUMENT,
}


async def serve_ingress(
    upstreams: Upstreams,
    *,
    membership: Membership,
    host: str,
    port: int,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the client port; ``started`` is called with the bound address."""

    async def handle(stream: SecureStream) -> None:
        certificate = stream.peer_certificate
        now = datetime.datetime.now(datetime.UTC)
        identity = admit_peer(INGRESS, certificate, trust=membership.trust, now=now)
        fingerprint = None if certificate is None else hashlib.sha256(certificate).hexdigest()
        connection = Connection(
            stream,
            client_side=False,
            windows=EDGE,
            accept=functools.partial(forward_passage, upstreams, fingerprint),
            peer=Peer(address=stream.peer_address, certificate=certificate, identity=identity),
            max_streams=EDGE_STREAMS,
        )
        await connection.run()

    context = server_context(membership.credentials, trust=membership.trust, policy=INGRESS)
    await serve_tls(handle, host=host, port=port, context=context, task_status=task_status)


async def forward_passage(upstreams: Upstreams, fingerprint: str | None, down: H2Stream) -> None:
    """Forward one request stream to helm, or say why not."""
    headers = forwarded_headers(down.headers or [], fingerprint=fingerprint)
    if isinstance(headers, Refusal):
        await refuse(down, _STATUS[headers], headers.value)
        return
    up = upstreams.pick()
    if up is None:
        await refuse(down, Status.UNAVAILABLE, "helm is not connected to this relay")
        return
    await forward(down, up, headers)
