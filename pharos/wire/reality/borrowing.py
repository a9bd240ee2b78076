"""One connection from its first octet: a stranger's until its end, a device's until its handshake is done.

The target hears what the client says, octet by octet. What it answers to a hello of ours is kept back and read along;
what it answers to anything else goes to the client as it is.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import attrs
import trio

from pharos.wire.reality.arrival import HelloReader
from pharos.wire.reality.auth import Admitted
from pharos.wire.reality.errors import TargetError, TlsError
from pharos.wire.reality.finishing import finish_handshake
from pharos.wire.reality.flight import MAX_FLIGHT, SEPARATE, FlightRecorder, TargetFlight
from pharos.wire.reality.front import reset
from pharos.wire.reality.hello import ClientHello
from pharos.wire.reality.records import OVERHEAD
from pharos.wire.reality.relaying import BROKEN, STRANGER_READ, RelayBuckets, RelayLimits
from pharos.wire.reality.server import ServerConnection

log = logging.getLogger(__name__)

_ALERT: Final = OVERHEAD + 2
"""Octets of a sealed alert's record."""

Judge: TypeAlias = Callable[[ClientHello], Admitted | None]
"""Says whether a hello is one of ours, once."""
Shape: TypeAlias = Callable[[ClientHello, Admitted, TargetFlight], ServerConnection]
"""Makes the node's end in the target's stead. Raises: TargetError — it cannot be."""


class _Whose(enum.Enum):
    UNDECIDED = "the hello is not whole yet"
    WAITING = "one of ours, and the target's answer is not whole yet"
    OURS = "one of ours"
    STRANGER = "a stranger's"


class Borrowing:
    """Between a client and the target; it owns neither stream.

    ``complain`` is told why a hello of ours was passed on all the same.
    """

    def __init__(
        self,
        client: trio.SocketStream,
        target: trio.SocketStream,
        *,
        judge: Judge,
        shape: Shape,
        complain: Callable[[TargetError], None],
        limits: RelayLimits,
        buckets: RelayBuckets,
    ) -> None:
        self._client, self._target = client, target
        self._judge, self._shape, self._complain = judge, shape, complain
        self._limits, self._buckets = limits, buckets
        self._whose = _Whose.UNDECIDED
        self._settled, self._answered = trio.Event(), trio.Event()
        self._reader = HelloReader()
        self._recorder = FlightRecorder()
        self._answer = bytearray()
        self._ours: tuple[ClientHello, Admitted] | None = None
        self._connection: ServerConnection | None = None
        self._completed = False
        self._scope = trio.CancelScope()

    async def run(self) -> ServerConnection | None:
        """Return a device's connection behind its handshake; None when any other has ended."""
        self._touch()
        # One task beside this one, for all that the target says until the end: what each more costs, its start and its
        # cancellation, every handshake pays.
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_broken, self._carry_down)
                await self._until_broken(self._carry_up)
        return self._connection if self._completed else None

    async def _until_broken(self, direction: Callable[[], Awaitable[None]]) -> None:
        try:
            await direction()
        except BROKEN:
            # Whoever is still there sees a reset as well.
            for stream in (self._client, self._target):
                reset(stream)
            self._scope.cancel()

    async def _carry_up(self) -> None:
        while data := await self._client.receive_some(STRANGER_READ):
            self._touch()
            if self._is(_Whose.UNDECIDED):
                self._read_hello(data)
            if self._is(_Whose.STRANGER):
                await self._buckets.wait_for_client(len(data))
            await self._target.send_all(data)
            if self._is(_Whose.WAITING):
                await self._settled.wait()
            if self._connection is not None:
                await self._finish(self._connection)
                return
        if self._is(_Whose.UNDECIDED):
            self._whose = _Whose.STRANGER
        await self._target.send_eof()

    async def _finish(self, connection: ServerConnection) -> None:
        """Be the target from here on; the other task goes on listening to it until the Finished is there."""
        self._scope.deadline = trio.current_time() + self._limits.handshake_timeout
        connection.receive(self._reader.take_rest())
        await finish_handshake(self._client, self._target, connection, self._answered)
        self._completed = True
        self._scope.cancel()

    async def _carry_down(self) -> None:
        data: bytes | bytearray
        while data := await self._target.receive_some(STRANGER_READ):
            self._touch()
            if self._is(_Whose.UNDECIDED):
                # It has understood something that is no hello of ours, or has waited long enough for one.
                self._whose = _Whose.STRANGER
            if self._is(_Whose.WAITING):
                if not self._read_answer(data):
                    continue
                if self._is(_Whose.OURS):
                    await self._drain_target()
                    return
                data = self._answer
            await self._buckets.wait_for_target(len(data))
            await self._client.send_all(data)
        if self._is(_Whose.WAITING):
            self._pass_on(TargetError("the target ended before its answer was whole"))
            await self._client.send_all(self._answer)
        elif self._is(_Whose.UNDECIDED):
            self._whose = _Whose.STRANGER
        await self._client.send_eof()

    async def _drain_target(self) -> None:
        """Wait for the target to end, which is the end of a handshake that is not done by then."""
        # What came behind the hello has gone to the target with it, and may be why it ends: our answer goes before.
        await self._answered.wait()
        while await self._target.receive_some(STRANGER_READ):
            pass
        self._scope.cancel()

    def _read_hello(self, data: bytes | bytearray) -> None:
        try:
            hello = self._reader.feed(data)
        except TlsError as error:
            log.debug("a stranger: %s", error)
            self._whose = _Whose.STRANGER
            return
        if hello is not None:
            admitted = self._judge(hello)
            self._whose = _Whose.STRANGER if admitted is None else _Whose.WAITING
            self._ours = None if admitted is None else (hello, admitted)

    def _read_answer(self, data: bytes | bytearray) -> bool:
        """Say whether it is known now whose the connection is."""
        assert self._ours is not None, "it waits because of a hello"
        self._answer += data
        try:
            flight = self._recorder.feed(bytes(data))
            if flight is None:
                return False
            flight = _without_alert(flight)
            if sum(flight.records) > MAX_FLIGHT:
                raise TargetError(f"the target's flight has {sum(flight.records)} octets")
            self._connection = self._shape(*self._ours, flight)
        except TargetError as error:
            self._pass_on(error)
        else:
            self._whose = _Whose.OURS
            self._settled.set()
        return True

    def _pass_on(self, error: TargetError) -> None:
        self._complain(error)
        self._whose = _Whose.STRANGER
        self._settled.set()

    def _is(self, whose: _Whose) -> bool:
        return self._whose is whose

    def _touch(self) -> None:
        self._scope.deadline = trio.current_time() + self._limits.idle_timeout


def _without_alert(flight: TargetFlight) -> TargetFlight:
    """Return a flight in which no alert stands for a ticket: the target's answer to what came behind the hello.

    The node answers that by an alert of its own.
    """
    *others, last = flight.records
    return attrs.evolve(flight, records=tuple(others)) if last == _ALERT and len(others) == SEPARATE else flight
