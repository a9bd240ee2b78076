"""Reach helm through a beacon: mTLS to the relay, and inside it a passage that the relay cannot read."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import trio

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.profiles.store import Enrolled
from pharos.wire.errors import LinkLostError, LinkRefusedError, PeerRejectedError, RemoteProtocolError
from pharos.wire.ids import FleetId
from pharos.wire.pki.manifest import Manifest
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.tls import client_context, enrolment_context
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import EDGE
from pharos.wire.rpc.transport import SecureStream, open_tls
from pharos.wire.seal.ticket import BeaconAddress
from pharos.wire.units import SECONDS

# Per beacon: TCP and TLS on a bad mobile link. A device with three beacons knows within half a minute.
DIAL_TIMEOUT: Final = 10 * SECONDS


@asynccontextmanager
async def open_stranger_channel(
    beacons: Sequence[BeaconAddress], *, fleet: FleetId, root_hash: bytes
) -> AsyncIterator[Channel]:
    """Open a channel to the first beacon that answers, knowing only the hash of the fleet's root.

    Raises: NoAnswerError — none answered. PeerRejectedError — one answered that is not the fleet's.
    """

    def context_for(beacon: BeaconAddress) -> ssl.SSLContext:
        return enrolment_context(root_hash=root_hash, relay_id=beacon.relay, now=_now())

    async with AsyncExitStack() as stack:
        yield await _open_first(stack, beacons, fleet, context_for, check=lambda _stream: None)


@asynccontextmanager
async def open_member_channel(
    enrolled: Enrolled, manifest: Manifest, beacons: Sequence[BeaconAddress]
) -> AsyncIterator[Channel]:
    """Open a channel to the first beacon that answers, with this device's certificate.

    Raises: LinkRefusedError — some do not admit this device, and no other answered. NoAnswerError — none answered.
    PeerRejectedError — one answered that is not the fleet's.
    """
    context = client_context(trust=manifest.trust, credentials=enrolled.credentials())
    expected = {beacon.relay for beacon in beacons}

    def check(stream: SecureStream) -> None:
        # TLS has verified the name; the role and the id are ours to check before the first byte.
        certificate = stream.peer_certificate or b""
        relay = authorize_peer(certificate, trust=manifest.trust, roles={Role.RELAY}, peer_id=None, now=_now())
        if relay.id not in expected:
            raise PeerRejectedError(f"{relay.uri} answered where another relay should")

    async with AsyncExitStack() as stack:
        yield await _open_first(stack, beacons, manifest.trust.fleet, lambda _beacon: context, check=check)


async def _open_first(
    stack: AsyncExitStack,
    beacons: Sequence[BeaconAddress],
    fleet: FleetId,
    context_for: Callable[[BeaconAddress], ssl.SSLContext],
    *,
    check: Callable[[SecureStream], None],
) -> Channel:
    reasons = []
    refused: LinkRefusedError | None = None
    for beacon in beacons:
        name = Identity(fleet=fleet, role=Role.RELAY, id=beacon.relay).dns_name
        assert name is not None, "a relay has a DNS name"
        try:
            with trio.fail_after(DIAL_TIMEOUT):
                stream = await open_tls(beacon.host, beacon.port, context_for(beacon), server_hostname=name)
            try:
                check(stream)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return await stack.enter_async_context(open_channel(stream, windows=EDGE, authority="helm"))
        except (LinkLostError, LinkRefusedError, RemoteProtocolError, trio.TooSlowError) as error:
            if isinstance(error, LinkRefusedError):
                refused = error
            reasons.append(f"{beacon.host}:{beacon.port}: {str(error) or 'no answer in time'}")
    if refused is not None:
        raise refused
    raise NoAnswerError("no relay of the fleet answered: " + "; ".join(reasons))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
