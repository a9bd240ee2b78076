"""A node's REALITY on Trio: who comes is a device, or sees the target and nothing else."""

from __future__ import annotations

import functools
import logging
import math
import socket
from collections.abc import Callable
from typing import Final, NoReturn

import attrs
import trio

from pharos.wire.listen import refuse
from pharos.wire.reality.auth import Admitted, Gate
from pharos.wire.reality.borrowing import Borrowing
from pharos.wire.reality.carrying import FAILURES, CarryLimits, carry
from pharos.wire.reality.certificate import NodeSigner
from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import TargetError
from pharos.wire.reality.flight import TargetFlight
from pharos.wire.reality.front import reset
from pharos.wire.reality.hello import ClientHello
from pharos.wire.reality.learning import LEARNING_ERRORS, Habits, Patience, learn
from pharos.wire.reality.places import Places
from pharos.wire.reality.relaying import RelayBuckets, RelayLimits
from pharos.wire.reality.replay import SeenHellos
from pharos.wire.reality.routing import Routes
from pharos.wire.reality.server import ServerConnection
from pharos.wire.reality.stream import RealityStream
from pharos.wire.reality.targetway import TargetWay
from pharos.wire.reality.throttle import Bucket
from pharos.wire.reality.users import Session, Users
from pharos.wire.reality.vlessstream import VlessStream, receive_request
from pharos.wire.units import HOURS, MINUTES
from pharos.wire.world import random_bytes, this_world, wall_seconds

log = logging.getLogger(__name__)

LEARN_INTERVAL: Final = 6 * HOURS
"""Sites change their tickets with their software, not by the hour."""
LEARN_RETRY: Final = 1 * MINUTES
COMPLAINT_INTERVAL: Final = 1 * MINUTES
_SEED: Final = 32


@attrs.frozen(kw_only=True)
class ServerSettings:
    """What a node is told; connections that are open go on as they began."""

    gate: Gate
    target: tuple[str, int]
    routes: Routes = attrs.field(factory=Routes)
    """Where users may go."""
    mldsa65_seed: bytes | None = attrs.field(default=None, repr=False)
    way: TargetWay = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(lambda told: TargetWay(*told.target), takes_self=True)
    )
    """To the target."""


@attrs.define
class Counters:
    """Of all connections since the start."""

    connections: int = 0
    devices: int = 0
    """Handshakes that devices have finished."""
    replays: int = 0
    """Hellos that came a second time."""
    not_borrowed: int = 0
    """Hellos of devices that were passed on, as the target's answer could not be given in its stead."""
    refused: int = 0
    """Sessions above the limits."""


class RealityServer:
    """``clock``: Unix seconds."""

    def __init__(
        self,
        *,
        relay_limits: RelayLimits | None = None,
        carry_limits: CarryLimits | None = None,
        patience: Patience | None = None,
        clock: Callable[[], float] = wall_seconds,
        random: Random = random_bytes,
    ) -> None:
        self.users: Final = Users(clock=lambda: int(clock() * 1e9))
        self.counters: Final = Counters()
        self.habits = Habits()
        self.learnt = trio.Event()
        """Set when the habits are those of the target that is set now."""
        self.settings: ServerSettings | None = None
        self.places: Final = Places((relay_limits or RelayLimits()).at_once)
        self.seen: Final = SeenHellos()
        self._relay_limits = relay_limits or RelayLimits()
        self._carry_limits = carry_limits or CarryLimits()
        self._patience = patience
        self._clock = clock
        self._random = random
        self._key_seed = random(_SEED)
        self._signer = NodeSigner(self._key_seed)
        self._total = Bucket(
            self._relay_limits.total_rate, now=trio.current_time(), burst=self._relay_limits.total_burst
        )
        self._sessions = 0
        self._quiet_until = -math.inf
        self._changed = trio.Event()

    def configure(self, settings: ServerSettings) -> None:
        """Be this from the next connection on."""
        old, self.settings = self.settings, settings
        self._signer = NodeSigner(self._key_seed, mldsa65_seed=settings.mldsa65_seed)
        if old is None or (old.target, old.gate.server_names) != (settings.target, settings.gate.server_names):
            self.habits = Habits()
            self.learnt = trio.Event()
            self._changed.set()

    def take(self, nursery: trio.Nursery, sock: socket.socket, source: str) -> None:
        """Serve an accepted connection in the nursery."""
        if self.settings is None:
            refuse(sock)
            return
        self.counters.connections += 1
        client = trio.SocketStream(this_world().trio_socket(sock))
        nursery.start_soon(self._serve, client, source, self.settings)

    async def run_learning(self) -> NoReturn:
        """Learn the target's habits until cancelled: at once, when it is another, and now and then."""
        while True:
            self._changed = trio.Event()
            wait = LEARN_RETRY
            if self.settings is not None and await self._learn(self.settings):
                wait = LEARN_INTERVAL
            with trio.move_on_after(wait):
                await self._changed.wait()

    async def _learn(self, settings: ServerSettings) -> bool:
        names = settings.gate.server_names
        try:
            habits = await learn(
                settings.target, names, random=self._random, clock=self._clock, patience=self._patience
            )
        except LEARNING_ERRORS as error:
            log.warning("the target cannot be learnt: %s", str(error) or type(error).__name__)
            return False
        if not self._changed.is_set():
            self.habits = habits
            self.learnt.set()
        return True

    async def _serve(self, client: trio.SocketStream, source: str, settings: ServerSettings) -> None:
        try:
            async with client:
                stream = await self._let_in(client, settings)
                if stream is not None:
                    self.counters.devices += 1
                    await self._serve_device(client, stream, source, settings)
        # Whatever a stranger finds wrong in here ends its own connection; the users' go on.
        except Exception:
            log.exception("a connection has failed by a bug of ours")

    async def _let_in(self, client: trio.SocketStream, settings: ServerSettings) -> RealityStream | None:
        """Return a device's stream behind its handshake; None when a stranger's connection has ended."""
        stream: RealityStream | None = None
        with self.places.take(self._relay_limits.lifetime) as place:
            stream = await self._borrow(client, settings)
        if place.cancelled_caught:
            reset(client)
        return stream

    async def _borrow(self, client: trio.SocketStream, settings: ServerSettings) -> RealityStream | None:
        limits = self._relay_limits
        try:
            with trio.fail_after(limits.dial_timeout):
                target = await settings.way.open()
        except (OSError, trio.TooSlowError) as error:
            self._complain("the target cannot be reached", str(error) or "it does not answer")
            reset(client)
            return None
        async with target:
            borrowing = Borrowing(
                client,
                target,
                judge=functools.partial(self._judge, settings.gate),
                shape=self._shape,
                complain=self._note_passed_on,
                limits=limits,
                buckets=RelayBuckets(limits, self._total, now=trio.current_time()),
            )
            connection = await borrowing.run()
        return None if connection is None else RealityStream(client, connection)

    def _note_passed_on(self, error: TargetError) -> None:
        self.counters.not_borrowed += 1
        self._complain("a device was passed on", str(error))

    def _complain(self, what: str, why: str) -> None:
        """Warn, but not for each of the connections of a minute: strangers decide how many there are."""
        now = trio.current_time()
        level = logging.WARNING if now >= self._quiet_until else logging.DEBUG
        if level == logging.WARNING:
            self._quiet_until = now + COMPLAINT_INTERVAL
        log.log(level, "%s: %s", what, why)

    def _judge(self, gate: Gate, hello: ClientHello) -> Admitted | None:
        now = self._clock()
        verdict = gate.judge(hello, now=now)
        if not isinstance(verdict, Admitted):
            log.debug("a stranger: its hello %s", verdict.value)
            return None
        if not self.seen.is_new(hello.random, gate, now=now):
            self.counters.replays += 1
            log.debug("a stranger: its hello comes a second time")
            return None
        return verdict

    def _shape(self, hello: ClientHello, admitted: Admitted, flight: TargetFlight) -> ServerConnection:
        return ServerConnection(
            hello,
            admitted,
            flight,
            self._signer,
            random=self._random,
            post_handshake=self.habits.records_for(hello),
            max_useless=self.habits.max_useless,
        )

    async def _serve_device(
        self, client: trio.SocketStream, stream: RealityStream, source: str, settings: ServerSettings
    ) -> None:
        whole = False
        vless: VlessStream | None = None
        try:
            with trio.fail_after(self._carry_limits.request_timeout):
                received, vless = await receive_request(stream, self.users.accounts, random=self._random)
            with self.users.session(received.account, source) as session:
                if self._is_full(session):
                    self.counters.refused += 1
                    session.kicked = True
                    return
                self._sessions += 1
                try:
                    whole = await carry(received, vless, session, settings.routes, self._carry_limits)
                    if whole:
                        await vless.aclose()
                finally:
                    self._sessions -= 1
        except FAILURES as error:
            # What it wanted to reach is in some errors' texts, and nobody's business.
            log.debug("a session has failed: %s", type(error).__name__)
        finally:
            if not whole and vless is not None and vless.session.sends_raw:
                # Outside of the outer TLS a mere end is the target's own. Inside, it is none without close_notify.
                reset(client)

    def _is_full(self, session: Session) -> bool:
        return self._sessions >= self._carry_limits.at_once or len(session.user.sessions) > self._carry_limits.per_user
