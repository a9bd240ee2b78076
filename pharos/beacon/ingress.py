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

from pharos.beacon.decoy.front import Decoy
from pharos.beacon.fleet import MANIFEST_PATH
from pharos.beacon.forward import forward
from pharos.beacon.limiter import ENROLMENT_TIME, LOGIN_TIME, STRANGER_OCTETS, PassageLimiter
from pharos.beacon.sanitize import Headers, Refusal, forwarded_headers
from pharos.beacon.shares import Device
from pharos.beacon.upstream import NoUpstreamError, Upstreams
from pharos.wire.chance import between
from pharos.wire.errors import PeerRejectedError
from pharos.wire.passage.metadata import PURPOSE_HEADER, RETRY_HEADER, Purpose
from pharos.wire.pki.roles import INGRESS
from pharos.wire.rpc.admission import Admission
from pharos.wire.rpc.flow import EDGE, Holdings
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2core import Accept
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.limits import EDGE_STREAMS, FIRST_REQUEST_TIMEOUT
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.server import refuse, turn_away
from pharos.wire.rpc.transport import SecureStream, TlsStream, serve_tls
from pharos.wire.standing import Standing
from pharos.wire.units import MILLISECONDS, SECONDS

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
    # To a device, as RESOURCE_EXHAUSTED would read like helm's last word.
    Refusal.DEVICE_TOO_OFTEN: Status.UNAVAILABLE,
    Refusal.TOO_MANY: Status.UNAVAILABLE,
    Refusal.BUSY: Status.UNAVAILABLE,
    Refusal.HELM_AWAY: Status.UNAVAILABLE,
}

# Seconds, from and to. What is drawn in between keeps those who were refused together from coming back together.
_RETRY_AFTER: Final = {
    # A token of a source comes each 5 s, of a device each 2 s.
    Refusal.TOO_OFTEN: (5.0, 10.0),
    Refusal.DEVICE_TOO_OFTEN: (2.0, 6.0),
    # Its other passages end, or are found dead after 45 s.
    Refusal.TOO_MANY: (5.0, 45.0),
    # 1,000 who wait at 400 a second are in after 2.5 s.
    Refusal.BUSY: (1.0, 5.0),
    # helm dials again within 30 s, the cap of its back-off.
    Refusal.HELM_AWAY: (5.0, 30.0),
}


async def serve_ingress(
    upstreams: Upstreams,
    *,
    standing: Standing,
    host: str,
    port: int,
    limiter: PassageLimiter | None = None,
    admission: Admission | None = None,
    holdings: Holdings | None = None,
    decoy: Decoy | None = None,
    fleet: Accept | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve one client port; ``started`` is called with the bound address.

    Ports that share ``limiter`` and ``admission`` have one set of limits together. Who does not ask for this relay by
    its name is shown the ``decoy``, or its certificate if there is none. ``fleet`` answers what is asked of the beacon
    itself (`pharos.beacon.fleet`).
    """
    limiter = limiter or PassageLimiter()

    async def handle(stream: SecureStream) -> None:
        if decoy is not None and await decoy.serve(stream):
            return
        certificate = stream.peer_certificate
        try:
            identity = standing.admit(INGRESS, certificate)
        except PeerRejectedError:
            await turn_away(stream)
            raise
        peer = Peer(address=stream.peer_address, certificate=certificate, identity=identity)
        with standing.session(identity, certificate):
            await serve_client(upstreams, limiter, stream, peer=peer, holdings=holdings, fleet=fleet)

    context = functools.partial(standing.context, INGRESS)
    await serve_tls(
        handle,
        host=host,
        port=port,
        context=context,
        admission=admission,
        transport=TlsStream if decoy is None else decoy.transport,
        task_status=task_status,
    )


async def serve_client(
    upstreams: Upstreams,
    limiter: PassageLimiter,
    stream: trio.abc.Stream,
    *,
    peer: Peer,
    holdings: Holdings | None = None,
    fleet: Accept | None = None,
) -> None:
    """Serve one client until it leaves. One without a certificate is a stranger, and has little time."""
    stranger = peer.certificate is None
    connection = Connection(
        stream,
        client_side=False,
        windows=EDGE,
        accept=functools.partial(forward_passage, upstreams, limiter, peer, fleet=fleet),
        peer=peer,
        max_streams=EDGE_STREAMS,
        idle_timeout=FIRST_REQUEST_TIMEOUT if stranger else DEVICE_IDLE,
        holdings=holdings,
    )
    device = _device(peer)
    with (
        trio.move_on_after(STRANGER_TIME if stranger else math.inf),
        nullcontext() if device is None else limiter.shares.connection(device, connection.close_now),
    ):
        await connection.run()


async def forward_passage(
    upstreams: Upstreams, limiter: PassageLimiter, peer: Peer, down: H2Stream, *, fleet: Accept | None = None
) -> None:
    """Forward one request stream to helm, or say why not; ``fleet`` answers what is not for helm."""
    certificate = peer.certificate
    fingerprint = None if certificate is None else hashlib.sha256(certificate).hexdigest()
    device, now = _device(peer), trio.current_time()
    stranger = peer.address[0] if device is None and peer.address is not None else None
    if fleet is not None and stranger is not None and dict(down.headers or []).get(":path") == MANIFEST_PATH:
        refusal = limiter.admit_question(now, stranger=stranger)
        await (fleet(down) if refusal is None else _refuse(down, refusal))
        return
    headers = forwarded_headers(down.headers or [], fingerprint=fingerprint)
    if isinstance(headers, Refusal):
        await _refuse(down, headers)
        return
    # Who has used up its own share takes nothing of what is for all.
    refusal = None if device is None else limiter.shares.admit(device, now)
    if refusal is None:
        refusal = limiter.admit(now, stranger=stranger)
    if refusal is not None:
        await _refuse(down, refusal)
    elif device is not None:
        with limiter.shares.passage(device):
            await _forward(upstreams, down, headers)
    else:
        await _forward_stranger(upstreams, limiter, down, headers, stranger)


def _device(peer: Peer) -> Device | None:
    """Return who a peer is, whichever of its certificates it shows; None is a stranger."""
    return None if peer.certificate is None else peer.identity or peer.certificate


async def _forward_stranger(
    upstreams: Upstreams, limiter: PassageLimiter, down: H2Stream, headers: Headers, address: str | None
) -> None:
    login = dict(headers)[PURPOSE_HEADER] == Purpose.LOGIN.value
    with limiter.login(address) if login else nullcontext() as refusal:
        if refusal is not None:
            await _refuse(down, refusal)
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
        await _refuse(down, error.refusal)


async def _refuse(down: H2Stream, refusal: Refusal) -> None:
    hint: Headers = []
    if (after := _RETRY_AFTER.get(refusal)) is not None:
        hint = [(RETRY_HEADER, str(round(between(*after) / MILLISECONDS)))]
    await refuse(down, _STATUS[refusal], refusal.value, fields=hint)
