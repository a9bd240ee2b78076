"""A login passage: somebody on a fresh device says who they are, and it becomes a device of theirs."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import attrs
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.helm.accounts.claim import NOT_SERVED, LoginClaim, NewDevice, check_admitted, claim_login
from pharos.helm.accounts.newcomer import Newcomer
from pharos.helm.accounts.oidclogin import ProviderDoor, ProviderLogin
from pharos.helm.accounts.passphrases import MAX_EMAIL, PassphraseDoor
from pharos.helm.accounts.tickets import check_device_name
from pharos.helm.accounts.waiting import LIFETIME, WaitingLogin, show_code
from pharos.helm.ca.authority import Authority
from pharos.helm.context import HelmContext
from pharos.helm.errors import NotAllowedError, NotSignedInError
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device
from pharos.helm.store.changes import Act
from pharos.helm.store.credentials import find_by_email
from pharos.helm.store.database import Database
from pharos.helm.store.settings import setting
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import RelayId
from pharos.wire.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

TRIES: Final = 5
"""Passphrases in one passage; a beacon bounds how often somebody opens another."""
FAILURE_PAUSE: Final = 1 * SECONDS
"""Before a wrong passphrase is said to be one, whoever it was tried with. Who guesses spends it in a passage, and not
among those who wait to hash: who knows theirs hardly notices."""
BEGINS: Final = 20
"""In one passage: more than somebody who tries every way needs."""
GRANT_TIME: Final = 1 * MINUTES
"""From the proof of who it is to the claim, as long as an enrolment may take."""
NOT_CONFIRMED: Final = "nobody has confirmed this login in time; log in again for another code"


@attrs.frozen(kw_only=True)
class _Begun:
    method: int
    email: str
    device_name: str
    until: float
    """Of trio's clock."""
    waiting: WaitingLogin | None = None
    at_provider: ProviderLogin | None = None


@attrs.frozen(kw_only=True)
class _Grant:
    user_id: str
    how: str
    device_name: str
    until: float


class Login(account_grpc.LoginBase):
    """Served in one login passage, for as long as its block lasts."""

    def __init__(
        self,
        context: HelmContext,
        passphrases: PassphraseDoor,
        provider: ProviderDoor,
        *,
        relay_id: RelayId,
        handshake_hash: bytes,
    ) -> None:
        self._context = context
        self._passphrases = passphrases
        self._provider = provider
        self._relay_id = relay_id
        self._newcomer = Newcomer(context, handshake_hash)
        self._held = ExitStack()
        self._begun: _Begun | None = None
        self._grant: _Grant | None = None
        self._tries = 0
        self._begins = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()

    async def Begin(self, stream: Stream[pb.LoginRequest, pb.LoginReply]) -> None:
        """Take note of who wants in and how; answer with a code where one is to be shown."""
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "a login says who it is for")
        if self._begins >= BEGINS:
            raise NotAllowedError("too many tries in one login; begin anew")
        self._begins += 1
        if not await self._context.store.read(setting, "account.sync"):
            raise GRPCError(Status.FAILED_PRECONDITION, NOT_SERVED)
        begun = _Begun(
            method=request.method,
            email=request.email[:MAX_EMAIL],
            device_name=check_device_name(request.device_name),
            until=trio.current_time() + LIFETIME,
        )
        self._held.close()
        self._begun = self._grant = None
        reply = pb.LoginReply(seconds=int(LIFETIME))
        match request.method:
            case pb.LOGIN_METHOD_PASSPHRASE:
                pass
            case pb.LOGIN_METHOD_CODE:
                begun = await self._let_wait(begun)
                assert begun.waiting is not None, "it has just begun to wait"
                reply.code = show_code(begun.waiting.code)
            case pb.LOGIN_METHOD_OIDC:
                at_provider = await self._provider.begin()
                begun = attrs.evolve(begun, at_provider=at_provider)
                reply.code = at_provider.grant.user_code
                reply.verification_uri = at_provider.grant.verification_uri
                reply.seconds = at_provider.seconds
            case _:
                raise GRPCError(Status.UNIMPLEMENTED, "this helm knows no such way to log in")
        self._begun = begun
        await stream.send_message(reply)

    async def _let_wait(self, begun: _Begun) -> _Begun:
        user = await self._context.store.read(find_by_email, begun.email)
        waiting = self._context.logins.waiting(
            user_id=None if user is None else user.id,
            user_name="" if user is None else user.name,
            device_name=begun.device_name,
            relay_id=self._relay_id,
            at=now_us(),
        )
        return attrs.evolve(begun, waiting=self._held.enter_context(waiting))

    async def Passphrase(self, stream: Stream[pb.PassphraseRequest, pb.Granted]) -> None:
        """Check a passphrase."""
        request = await stream.recv_message()
        begun = self._begun
        if request is None or begun is None or begun.method != pb.LOGIN_METHOD_PASSPHRASE:
            raise GRPCError(Status.FAILED_PRECONDITION, "begin a login by passphrase first")
        if self._tries >= TRIES:
            raise NotAllowedError("too many tries in one login; begin anew")
        self._tries += 1
        try:
            user = await self._passphrases.check(begun.email, request.passphrase, at=self._relay_id)
        except NotSignedInError:
            await trio.sleep(FAILURE_PAUSE)
            raise
        await stream.send_message(self._granted(begun, user.id, user.name, how="passphrase"))

    async def Code(self, stream: Stream[pb.CodeRequest, pb.Granted]) -> None:
        """Wait until somebody has confirmed the code that was shown."""
        await stream.recv_message()
        begun = self._begun
        if begun is not None and begun.at_provider is not None:
            user = await self._provider.wait(begun.at_provider)
            check_admitted(user, now_us())
            await stream.send_message(self._granted(begun, user.id, user.name, how="OpenID provider"))
        elif begun is not None and begun.waiting is not None:
            await stream.send_message(await self._confirmed(begun, begun.waiting))
        else:
            raise GRPCError(Status.FAILED_PRECONDITION, "begin a login by code first")

    async def _confirmed(self, begun: _Begun, waiting: WaitingLogin) -> pb.Granted:
        with trio.CancelScope(deadline=begun.until):
            await waiting.confirmed.wait()
        if not waiting.confirmed.is_set() or waiting.user_id is None:
            self._held.close()
            self._begun = None
            raise GRPCError(Status.ABORTED, NOT_CONFIRMED)
        how = f"code, confirmed by {waiting.confirmed_by}"
        return self._granted(begun, waiting.user_id, waiting.user_name, how=how)

    def _granted(self, begun: _Begun, user_id: str, user_name: str, *, how: str) -> pb.Granted:
        self._held.close()
        self._begun = None
        until = trio.current_time() + GRANT_TIME
        self._grant = _Grant(user_id=user_id, how=how, device_name=begun.device_name, until=until)
        return pb.Granted(user_name=user_name)

    async def Challenge(self, stream: Stream[pb.ChallengeRequest, pb.ChallengeReply]) -> None:
        """Draw the key against which the device proves its own."""
        await self._newcomer.challenge(stream)

    async def Claim(self, stream: Stream[pb.ClaimRequest, pb.ClaimReply]) -> None:
        """Use the grant up, and answer with all that the device needs."""
        request = await stream.recv_message()
        grant, self._grant = self._grant, None
        if grant is None or grant.until < trio.current_time():
            raise NotSignedInError("log in first")

        def take(db: Database, act: Act, authority: Authority, new: NewDevice) -> tuple[Device, bytes]:
            claim = LoginClaim(
                user_id=grant.user_id, how=grant.how, csr=new.csr, keys=new.keys, device_name=grant.device_name
            )
            return claim_login(db, act, authority, claim)

        await stream.send_message(await self._newcomer.claim(request, take, by=f"login of {grant.user_id}"))
