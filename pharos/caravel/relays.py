"""Reach helm through a beacon: mTLS to the relay, and inside it a passage that the relay cannot read.

Which of the relays it is, a race decides: one that is dead, silent, cut off from helm or no relay of the fleet costs a
moment and nothing else. What they did is weighed only when none led to helm.
"""

from __future__ import annotations

import datetime
import functools
import math
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Generic, TypeAlias, TypeVar

import attrs
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.caravel.errors import HelmRefusedError, NoAnswerError
from pharos.caravel.profiles.store import Enrolled
from pharos.caravel.racing import NEXT_AFTER, AllFailedError, Way, open_first
from pharos.caravel.reach import Reach
from pharos.caravel.tunnel.parts import StreamOpener
from pharos.wire.errors import LinkLostError, LinkRefusedError, PeerRejectedError
from pharos.wire.ids import FleetId
from pharos.wire.pki.manifest import Manifest
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.tls import client_context, enrolment_context
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import EDGE
from pharos.wire.rpc.overstream import OverStream
from pharos.wire.rpc.secure import SecureStream
from pharos.wire.rpc.transport import open_tls
from pharos.wire.seal.ticket import BeaconAddress
from pharos.wire.units import SECONDS
from pharos.wire.world import utc_now

T = TypeVar("T")
Use: TypeAlias = Callable[[Channel], AbstractAsyncContextManager[T]]
"""What is opened over a channel to a relay, and decides the race."""

DIAL_TIMEOUT: Final = 10 * SECONDS
"""For TCP, TLS and the relay's SETTINGS on a bad mobile link."""
USE_TIMEOUT: Final = 15 * SECONDS
"""For what is opened over it: helm's part of a handshake."""
THROUGH_AFTER: Final = 2 * SECONDS
"""After the last direct way was begun: where nothing is blocked, nobody goes through the tunnel."""


@asynccontextmanager
async def open_as_stranger(
    beacons: Sequence[BeaconAddress], *, fleet: FleetId, root_hash: bytes, use: Use[T], reach: Reach | None = None
) -> AsyncIterator[T]:
    """Open something over the first beacon that leads to it, knowing only the hash of the fleet's root.

    Raises: HelmRefusedError, LinkRefusedError, GRPCError — somebody said no, and no other way led there.
    PeerRejectedError — one answered that is not the fleet's, and no other did. NoAnswerError — nobody answered.
    """

    def context_for(beacon: BeaconAddress) -> ssl.SSLContext:
        return enrolment_context(root_hash=root_hash, relay_id=beacon.relay, now=_now())

    ways = _Ways(fleet=fleet, context_for=context_for, check=lambda _certificate: None, use=use)
    async with _race(beacons, ways, reach or Reach()) as (_, found):
        yield found


@asynccontextmanager
async def open_as_member(
    beacons: Sequence[BeaconAddress],
    *,
    enrolled: Enrolled,
    manifest: Manifest,
    use: Use[T],
    reach: Reach | None = None,
) -> AsyncIterator[tuple[BeaconAddress, T]]:
    """Open something over the first beacon that leads to it, with this device's certificate; give both.

    Raises: as `open_as_stranger`.
    """
    context = client_context(trust=manifest.trust, credentials=enrolled.credentials())
    expected = {beacon.relay for beacon in beacons}

    def check(certificate: bytes) -> None:
        # TLS has verified the name; the role and the id are ours to check before the first byte.
        relay = authorize_peer(certificate, trust=manifest.trust, roles={Role.RELAY}, peer_id=None, now=_now())
        if relay.id not in expected:
            raise PeerRejectedError(f"{relay.uri} answered where another relay should")

    ways = _Ways(fleet=manifest.trust.fleet, context_for=lambda _beacon: context, check=check, use=use)
    async with _race(beacons, ways, reach or Reach()) as found:
        yield found


@attrs.frozen(kw_only=True)
class _Ways(Generic[T]):
    """What there is to know of every way to a relay of one fleet."""

    fleet: FleetId
    context_for: Callable[[BeaconAddress], ssl.SSLContext]
    check: Callable[[bytes], None]
    """Of the certificate that a relay has shown. Raises: PeerRejectedError."""
    use: Use[T]

    @asynccontextmanager
    async def open(
        self,
        progressed: Callable[[], None],
        *,
        beacon: BeaconAddress,
        reach: Reach,
        through: StreamOpener | None = None,
    ) -> AsyncIterator[T]:
        """Dial one relay, directly or through a tunnel."""
        with trio.CancelScope(deadline=trio.current_time() + DIAL_TIMEOUT) as scope:
            stream = await self._dial(beacon, reach, through)
            try:
                self.check(stream.peer_certificate or b"")
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            async with open_channel(stream, windows=EDGE, authority="helm") as channel:
                progressed()
                scope.deadline = trio.current_time() + USE_TIMEOUT
                async with self.use(channel) as found:
                    scope.deadline = math.inf
                    yield found
        if scope.cancelled_caught:
            raise trio.TooSlowError("no answer in time")

    async def _dial(
        self, beacon: BeaconAddress, reach: Reach, through: StreamOpener | None
    ) -> SecureStream | OverStream:
        name = Identity(fleet=self.fleet, role=Role.RELAY, id=beacon.relay).dns_name
        assert name is not None, "a relay has a DNS name"
        context = self.context_for(beacon)
        try:
            if through is not None:
                stream = await through.open_tcp_stream(beacon.host, beacon.port)
                return await OverStream.shake_hands(stream, context, server_hostname=name)
            return await open_tls(
                beacon.host,
                beacon.port,
                context,
                server_hostname=name,
                protect=reach.protect,
                resolve=reach.resolve,
            )
        except LinkRefusedError as error:
            # Before the relay has proven itself, anybody on the way can say no in its place (RFC 8446 §6).
            raise LinkLostError(str(error)) from error


@asynccontextmanager
async def _race(
    beacons: Sequence[BeaconAddress], ways: _Ways[T], reach: Reach
) -> AsyncIterator[tuple[BeaconAddress, T]]:
    dialled = [beacon for beacon in beacons if not reach.pause_left(beacon.relay)]
    if not dialled:
        raise _left_in_peace(beacons, reach)
    runners: list[tuple[BeaconAddress, Way[T]]] = []
    for beacon in dialled:
        # Spread, so that devices that come back together do not keep step.
        after = NEXT_AFTER * (1 + reach.random() / 2)
        open_ = functools.partial(ways.open, beacon=beacon, reach=reach)
        runners.append((beacon, Way(open=open_, name=f"{beacon.host}:{beacon.port}", next_after=after)))
    if reach.through is not None:
        for number, beacon in enumerate(dialled):
            open_ = functools.partial(ways.open, beacon=beacon, reach=reach, through=reach.through)
            name = f"{beacon.host}:{beacon.port} through the tunnel"
            after = NEXT_AFTER if number else THROUGH_AFTER
            runners.append((beacon, Way(open=open_, name=name, next_after=after, last_resort=not number)))
    try:
        async with open_first([way for _, way in runners]) as (index, found):
            yield runners[index][0], found
    except AllFailedError as error:
        for (beacon, _), (_, failure) in zip(runners, error.failures, strict=True):
            reach.pause(beacon.relay, _retry_after(failure))
        raise _verdict(error) from error


def _verdict(failed: AllFailedError) -> Exception:
    """Return the one error that tells of all: whoever said no comes first, and then whoever is not who they say."""
    failures = [failure for _, failure in failed.failures]
    if len(failures) == 1 and not isinstance(failures[0], (OSError, trio.TooSlowError, trio.BrokenResourceError)):
        return failures[0]
    for said_no in (_is_refusal, lambda failure: isinstance(failure, PeerRejectedError)):
        for failure in failures:
            if said_no(failure):
                return failure
    told = (f"{name}: {_words(failure)}" for name, failure in failed.failures)
    silence = NoAnswerError("no relay of the fleet led to helm: " + "; ".join(told))
    silence.retry_after = min(map(_retry_after, failures), default=0.0)
    return silence


def _is_refusal(failure: Exception) -> bool:
    if isinstance(failure, GRPCError):
        return failure.status not in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED)
    return isinstance(failure, (LinkRefusedError, HelmRefusedError))


def _retry_after(failure: Exception) -> float:
    return failure.retry_after if isinstance(failure, (LinkLostError, NoAnswerError)) else 0.0


def _words(failure: Exception) -> str:
    if isinstance(failure, GRPCError):
        return failure.message or failure.status.name.lower()
    return str(failure) or "no answer in time"


def _left_in_peace(beacons: Sequence[BeaconAddress], reach: Reach) -> NoAnswerError:
    if not beacons:
        return NoAnswerError("this device knows no relay of the fleet that it may dial; ask for a new ticket")
    seconds = min(reach.pause_left(beacon.relay) for beacon in beacons)
    silence = NoAnswerError(f"the relays of the fleet have asked to be left in peace for {seconds:.0f} s more")
    silence.retry_after = seconds
    return silence


def _now() -> datetime.datetime:
    return utc_now()
