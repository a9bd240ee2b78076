"""Log in with an account on a fresh device: a fleet link, who one is, and the rest as with a ticket.

    async with open_login(link) as login:
        await login.begin(Method.PASSPHRASE, email="ada@example.org", device_name="laptop")
        await login.say_passphrase("correct horse battery staple")
        enrolled = await login.enrol(store)

The link is no secret. What helm's key is stands in the fleet's manifest, which the beacon hands out and the root, whose
hash is in the link, has signed: so a beacon can be no helm, and hears nothing of what is said here.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import attrs
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.caravel.enrolment import keep, make_claim, prepare
from pharos.caravel.errors import TryLaterError, WrongPassphraseError
from pharos.caravel.profiles.store import Enrolled, ProfileStore
from pharos.caravel.reach import Reach
from pharos.caravel.relays import open_as_stranger
from pharos.caravel.sync import CALL_TIMEOUT, failures_as_no_answer
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.gen.pharos.relay.v1 import fleet_grpc, fleet_pb2
from pharos.wire.passage.client import Passage, open_passage
from pharos.wire.passage.metadata import Purpose
from pharos.wire.pki.manifest import verify_manifest
from pharos.wire.rpc.client import Channel
from pharos.wire.seal.ticket import FleetLink
from pharos.wire.units import MINUTES, SECONDS
from pharos.wire.world import utc_now

CONFIRM_TIMEOUT: Final = 10 * MINUTES
"""For a code to be confirmed; the beacon ends the passage then."""
PASSPHRASE_TIMEOUT: Final = 30 * SECONDS
"""helm checks two at a time and lets eight wait, each for a second of a slow machine at most."""


class Method(enum.Enum):
    """How somebody says who they are."""

    PASSPHRASE = "passphrase"  # noqa: S105 -- a way in, no secret
    CODE = "code"
    """A code is shown here, and confirmed by an admin or on another device of the same user."""
    OIDC = "oidc"
    """A code is shown here, and confirmed at the fleet's OpenID provider."""


_METHODS: Final = {
    Method.PASSPHRASE: pb.LOGIN_METHOD_PASSPHRASE,
    Method.CODE: pb.LOGIN_METHOD_CODE,
    Method.OIDC: pb.LOGIN_METHOD_OIDC,
}


@attrs.frozen(kw_only=True)
class Begun:
    """A login that helm has taken note of."""

    code: str
    """To be shown; empty with a passphrase."""
    verification_uri: str
    """Where the code is to be typed, with OIDC."""
    seconds: int
    """How long it waits."""


class Login:
    """One login passage; `open_login` makes it."""

    def __init__(self, link: FleetLink, passage: Passage, inner: Channel) -> None:
        self._link = link
        self._passage = passage
        self._stub = account_grpc.LoginStub(inner)

    async def begin(self, method: Method, *, email: str, device_name: str) -> Begun:
        """Say who wants in and what the device is called; again takes another way.

        Raises: HelmRefusedError — not in this fleet, or not in this way. NoAnswerError.
        """
        request = pb.LoginRequest(method=_METHODS[method], email=email, device_name=device_name)
        with _failures():
            reply = await self._stub.Begin(request, timeout=CALL_TIMEOUT)
        return Begun(code=reply.code, verification_uri=reply.verification_uri, seconds=reply.seconds)

    async def say_passphrase(self, passphrase: str) -> str:
        """Return the user's name.

        Raises: WrongPassphraseError — one may try again, a few times. TryLaterError. HelmRefusedError — the user is
        kept out. NoAnswerError.
        """
        with _failures():
            granted = await self._stub.Passphrase(
                pb.PassphraseRequest(passphrase=passphrase), timeout=PASSPHRASE_TIMEOUT
            )
        return granted.user_name

    async def wait_confirmed(self) -> str:
        """Wait until somebody has confirmed the code; return the user's name.

        Raises: HelmRefusedError — nobody has, in time. NoAnswerError.
        """
        with _failures():
            granted = await self._stub.Code(pb.CodeRequest(), timeout=CONFIRM_TIMEOUT)
        return granted.user_name

    async def enrol(self, store: ProfileStore) -> Enrolled:
        """Become a device of that user, and keep certificate, manifest and first bundle.

        The keys are kept before they are shown: logging in again after a lost answer gets the same device.

        Raises: AlreadyEnrolledError — this store belongs to a fleet. HelmRefusedError — the user has as many devices as
        they may have, or is kept out. NoAnswerError. PeerRejectedError — what came is not of this fleet.
        """
        secrets = prepare(store, self._link.fleet)
        with _failures():
            challenge = await self._stub.Challenge(pb.ChallengeRequest(), timeout=CALL_TIMEOUT)
            claim = make_claim(secrets, ephemeral=challenge.ephemeral, handshake_hash=self._passage.handshake_hash)
            reply = await self._stub.Claim(claim, timeout=CALL_TIMEOUT)
        return keep(store, reply, secrets, root_hash=self._link.root_hash, beacons=self._link.beacons)


@asynccontextmanager
async def open_login(link: FleetLink, reach: Reach | None = None) -> AsyncIterator[Login]:
    """Open a login passage through the first beacon of ``link`` that answers. The caller owns timeouts.

    Raises: NoAnswerError, HelmRefusedError — nobody answered, or not to strangers. PeerRejectedError, ManifestError —
    who answered is not the fleet of the link.
    """

    @asynccontextmanager
    async def use(outer: Channel) -> AsyncIterator[Passage]:
        told = await fleet_grpc.FleetStub(outer).Manifest(fleet_pb2.ManifestRequest(), timeout=CALL_TIMEOUT)
        now = utc_now()
        manifest = verify_manifest(told.manifest, root_hash=link.root_hash, now=now)
        async with open_passage(outer, purpose=Purpose.LOGIN, fleet=link.fleet, helm_key=manifest.noise_key) as passage:
            yield passage

    with failures_as_no_answer():
        async with (
            open_as_stranger(link.beacons, fleet=link.fleet, root_hash=link.root_hash, use=use, reach=reach) as passage,
            passage.channel() as inner,
        ):
            yield Login(link, passage, inner)


@contextmanager
def _failures() -> Iterator[None]:
    """Raises: WrongPassphraseError, TryLaterError; else as `failures_as_no_answer`."""
    with failures_as_no_answer():
        try:
            yield
        except GRPCError as error:
            if error.status is Status.UNAUTHENTICATED:
                raise WrongPassphraseError(f"helm refused: {error.message}") from error
            if error.status is Status.RESOURCE_EXHAUSTED:
                raise TryLaterError(f"helm says: {error.message}") from error
            raise
