"""The client ingress: terminates client mTLS and forwards passages, of peers with a certificate or about to get one."""

from __future__ import annotations

import functools
import hashlib
import logging
import math
from contextlib import nullcontext
from typing import Final, NoReturn

import trio
from grpclib.const import Status
from h2.errors import ErrorCodes

from pharos.beacon.forward import forward
from pharos.beacon.limiter import ENROLMENT_TIME, LOGIN_TIME, STRANGER_OCTETS, PassageLimiter
from pharos.beacon.sanitize import Headers, Refusal, forwarded_headers
from pharos.beacon.upstream import NoUpstreamError, Upstreams
from pharos.wire.errors import PeerRejectedError
from pharos.wire.passage.metadata import PURPOSE_HEADER, Purpose
from pharos.wire.pki.roles import INGRESS
from pharos.wire.rpc.flow import EDGE, Holdings
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.limits import EDGE_STREAMS, FIRST_REQUEST_TIMEOUT
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import refuse, turn_away
from pharos.wire.rpc.transport import SecureStream, serve_tls
from pharos.wire.standing import Standing
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

# A device whose passage ended opens the next within 30 s, the cap of its back-off.
DEVICE_IDLE: Final = 60 * SECONDS
# A login, and the enrolment that follows it on the same connection.
STRANGER_TIME: Final = LOGIN_TIME + ENROLMENT_TIME

_STATUS: Final = {
    Refusal.UNKNOWN_METHOD: Status.UNIMPLEMENTED,
    Refusal.NEEDS_CERTIFICATE: Status.UNAUTHENTICATED,
    Refusal.BAD_REQUEST: Status.INVALID_ARGUMENT,
    Refusal.TOO_OFTEN: Status.RESOURCE_EXHAUSTED,
    Refusal.BUSY: Status.UNAVAILABLE,
}


async def serve_ingress(
    upstreams: Upstreams,
    *,
    standing: Standing,
    host: str,
    port: int,
    limiter: PassageLimiter | None = None,
    holdings: Holdings | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the client port; ``started`` is called with the bound address."""
    limiter = limiter or PassageLimiter()

    async def handle(stream: SecureStream) -> None:
        certificate = stream.peer_certificate
        try:
            identity = standing.admit(INGRESS, certificate)
        except PeerRejectedError:
            await turn_away(stream)
            raise
        peer = Peer(address=stream.peer_address, certificate=certificate, identity=identity)
        with standing.session(identity, certificate):
            await serve_client(upstreams, limiter, stream, peer=peer, holdings=holdings)

    context = functools.partial(standing.context, INGRESS)
    await serve_tls(handle, host=host, port=port, context=context, task_status=task_status)


async def serve_client(
    upstreams: Upstreams,
    limiter: PassageLimiter,
    stream: trio.abc.Stream,
    *,
    peer: Peer,
    holdings: Holdings | None = None,
) -> None:
    """Serve one client until it leaves. One without a certificate is a stranger, and has little time."""
    stranger = peer.certificate is None
    connection = Connection(
        stream,
        client_side=False,
        windows=EDGE,
        accept=functools.partial(forward_passage, upstreams, limiter, peer),
        peer=peer,
        max_streams=EDGE_STREAMS,
        idle_timeout=FIRST_REQUEST_TIMEOUT if stranger else DEVICE_IDLE,
        holdings=holdings,
    )
    with trio.move_on_after(STRANGER_TIME if stranger else math.inf):
        await connection.run()


async def forward_passage(upstreams: Upstreams, limiter: PassageLimiter, peer: Peer, down: H2Stream) -> None:
    """Forward one request stream to helm, or say why not."""
    certificate = peer.certificate
    fingerprint = None if certificate is None else hashlib.sha256(certificate).hexdigest()
    headers = forwarded_headers(down.headers or [], fingerprint=fingerprint)
    if isinstance(headers, Refusal):
        await refuse(down, _STATUS[headers], headers.value)
        return
    stranger = peer.address[0] if certificate is None and peer.address is not None else None
    refusal = limiter.admit(trio.current_time(), stranger=stranger)
    if refusal is not None:
        await refuse(down, _STATUS[refusal], refusal.value)
    elif certificate is not None:
        await _forward(upstreams, down, headers)
    else:
        await _forward_stranger(upstreams, limiter, down, headers)


async def _forward_stranger(upstreams: Upstreams, limiter: PassageLimiter, down: H2Stream, headers: Headers) -> None:
    login = dict(headers)[PURPOSE_HEADER] == Purpose.LOGIN.value
    with limiter.login() if login else nullcontext() as refusal:
        if refusal is not None:
            await refuse(down, _STATUS[refusal], refusal.value)
            return
        with trio.move_on_after(LOGIN_TIME if login else ENROLMENT_TIME) as patience:
            await _forward(upstreams, down, headers, octets=STRANGER_OCTETS)
        if patience.cancelled_caught:
            # Not a status: a peer that reads nothing could make us wait to send it.
            down.reset_nowait(ErrorCodes.CANCEL)


async def _forward(upstreams: Upstreams, down: H2Stream, headers: Headers, *, octets: float = math.inf) -> None:
    try:
        async with upstreams.place() as up:
            await forward(down, up, headers, octets=octets)
    except NoUpstreamError as error:
        await refuse(down, Status.UNAVAILABLE, str(error))
