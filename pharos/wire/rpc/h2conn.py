"""One HTTP/2 connection over any Trio stream, in either role, as one supervised task.

`Connection.run` is the task. Inside it the reader feeds the machine and hands its events to the streams, a
writer task alone calls ``send_all`` (so that cancelling an RPC can never tear a TLS record), and each accepted
stream has a task for its handler. Whatever a peer does ends in `error` and in the streams' errors, never in an
exception out of `run`.
"""

from __future__ import annotations

import logging
import math
from typing import Final

import trio
from h2 import events as h2_events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from pharos.wire.errors import LinkRefusedError, WireError
from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import INNER, Holdings, Windows
from pharos.wire.rpc.guard import Allowance, Guard
from pharos.wire.rpc.h2core import Accept, ConnectionCore
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.peer import Peer
from pharos.wire.rpc.secure import SecureStream, TlsAlertError
from pharos.wire.rpc.slowness import Slowness
from pharos.wire.rpc.status import ConnectionLostError, is_peer_fault
from pharos.wire.units import KIB

log = logging.getLogger(__name__)

_RECEIVE_SIZE: Final = 64 * KIB
_NOBODY: Final = Peer()


class Connection(ConnectionCore):
    """An HTTP/2 connection. It owns ``stream`` from `run` on, and closes it.

    The HTTP/2 role is independent of who dialled or of the TLS role: ``client_side`` opens streams, the other
    side runs ``accept`` for each, in the stream's own cancel scope. With a ``keepalive`` (seconds of silence
    until a PING) or an ``idle_timeout`` (seconds without a stream until we say goodbye) a ``receive_some`` of the
    stream is cancelled now and then, which must lose nothing. Connections may share ``holdings``.
    """

    __slots__ = (
        "__weakref__",
        "_alarm",
        "_doomed",
        "_ended",
        "_guard",
        "_idle_timeout",
        "_keepalive",
        "_scope",
        "_slowness",
        "_stream",
        "_writing",
        "heard_at",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        client_side: bool,
        windows: Windows = INNER,
        accept: Accept | None = None,
        peer: Peer | None = None,
        max_streams: int = limits.MAX_STREAMS,
        keepalive: float | None = limits.KEEPALIVE_INTERVAL,
        idle_timeout: float | None = None,
        allowance: Allowance | None = None,
        holdings: Holdings | None = None,
    ) -> None:
        super().__init__(
            client_side=client_side,
            windows=windows,
            accept=accept,
            peer=peer or _NOBODY,
            max_streams=max_streams,
            holdings=holdings,
        )
        self.heard_at = 0.0
        """When the last bytes arrived, on Trio's clock."""
        self._stream = stream
        self._keepalive = math.inf if keepalive is None else keepalive
        self._idle_timeout = math.inf if idle_timeout is None else idle_timeout
        self._guard = Guard(allowance or Allowance())
        self._slowness = Slowness()
        self._alarm: trio.CancelScope | None = None
        self._writing = 0
        self._ended = trio.Event()
        self._scope: trio.CancelScope | None = None
        self._doomed = False

    # -- life

    async def run(self, *, task_status: trio.TaskStatus[Connection] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the connection until it ends; ``started`` is called at once, see `wait_up`.

        Cancelling it is an abrupt end: handlers are cancelled, the stream is closed.
        """
        try:
            async with trio.open_nursery() as handlers:
                self._scope = handlers.cancel_scope
                if self._doomed:
                    self._scope.cancel()
                self.heard_at = self._idle_since = trio.current_time()
                self._slowness.begin(self.heard_at)
                self.machine.initiate_connection()
                handlers.start_soon(self._write)
                task_status.started(self)
                await self._read(handlers)
                if self._last_words and (self.machine.pending or self._writing):
                    # The writer cancels this when all is said.
                    self._unsent.wake()
                    await trio.sleep(limits.CLOSE_GRACE)
                handlers.cancel_scope.cancel()
        finally:
            self._end(self._parting)
            self._hold_output()
            await self._close_stream()
            self._ended.set()

    async def wait_up(self) -> None:
        """Wait until the peer's SETTINGS have arrived: only then has it accepted our certificate.

        Raises: LinkRefusedError — it refused us. LinkLostError — the connection ended before.
        """
        await self._up.wait()
        if self.closed:
            raise self.error or ConnectionLostError("the connection was closed")

    async def wait_closed(self) -> None:
        """Wait until the connection has ended, whyever; see `error`."""
        await self._ended.wait()

    async def drain(self, grace: float) -> None:
        """Say goodbye (GOAWAY, RFC 9113 §6.8), let open streams finish for ``grace`` seconds, and close.

        No stream is accepted or opened from now on. Returns when the connection has ended.
        """
        with trio.move_on_after(grace):
            self.say_goodbye()
            await self._ended.wait()
            return
        self.close_now()
        await self._ended.wait()

    def say_goodbye(self, reason: WireError | None = None) -> None:
        if not self.closed and not self._leaving:
            self.machine.say_goodbye(self.machine.highest_inbound_stream_id)
            self.flush()
        self._leave(reason)

    def close_now(self) -> None:
        """End the connection without ado."""
        self._doomed = True
        if self._scope is not None:
            self._scope.cancel()

    def lose(self, reason: str) -> None:
        self._end(ConnectionLostError(reason))
        self.close_now()

    # -- tasks

    async def _read(self, handlers: trio.Nursery) -> None:
        """Receive until the peer ends, breaks, is silent for too long, or is too slow."""
        misses = 0
        try:
            while misses < limits.KEEPALIVE_MISSES:
                heard_at = self.heard_at
                silent_at = self._silent_at(misses)
                alarm_at = min(silent_at, self._slowness.due, self._idle_until())
                with trio.CancelScope(deadline=alarm_at) as self._alarm:
                    await self._receive(handlers)
                    return
                now = trio.current_time()
                if now >= self._slowness.due:
                    self._end(ConnectionLostError(f"the peer is too slow: {self._slowness.waiting_for}"))
                    return
                if now >= self._idle_until():
                    self.say_goodbye(ConnectionLostError(f"there was no request for {self._idle_timeout:g} s"))
                    return
                if self.heard_at > heard_at:
                    misses = 0
                elif now >= silent_at:
                    misses += 1
                    if misses < limits.KEEPALIVE_MISSES:
                        self.ping()
            self._end(ConnectionLostError(f"the peer has been silent for {misses * self._keepalive:g} s"))
        except ProtocolError as error:
            self._last_words = True
            self._end(ConnectionLostError(f"the peer broke the protocol: {error}"))
        except TlsAlertError as error:
            refused = not self._up.is_set()
            self._end(LinkRefusedError(str(error)) if refused else ConnectionLostError(str(error)))
        except (trio.BrokenResourceError, trio.ClosedResourceError, WireError) as error:
            self._end(ConnectionLostError(f"the connection broke: {error}"))

    async def _receive(self, handlers: trio.Nursery) -> None:
        """Receive until the peer ends. May be cancelled: it waits in ``receive_some`` only."""
        machine = self.machine
        tally = machine.tally
        while data := await self._stream.receive_some(_RECEIVE_SIZE):
            self.heard_at = trio.current_time()
            while True:
                events = self._parse(data)
                if tally.resets or tally.control:
                    self._charge()
                try:
                    self.handle(events)
                finally:
                    if self._fresh:
                        self._start_handlers(handlers)
                self.flush()
                if not machine.unparsed:
                    break
                data = b""
                await trio.lowlevel.cancel_shielded_checkpoint()
            if self._slowness.look(machine, up=self._up.is_set(), now=self.heard_at):
                self._set_alarm()
        self._end(self._parting or ConnectionLostError("the peer closed the connection"))

    def _charge(self) -> None:
        try:
            self._guard.charge(self.machine.tally, self.heard_at)
        except ProtocolError:
            self.machine.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            raise

    def _silent_at(self, misses: int) -> float:
        """Return when a peer that says nothing will have been silent for once more than ``misses`` intervals."""
        at = self.heard_at + (misses + 1) * self._keepalive
        if math.isinf(at):
            return at
        if misses + 1 == limits.KEEPALIVE_MISSES:
            # The end comes in time; a question may come a little late.
            return at - at % limits.KEEPALIVE_TICK
        if not misses and not self.client_side:
            at += limits.KEEPALIVE_LAG
        return at + -at % limits.KEEPALIVE_TICK

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.deadline = min(self._silent_at(0), self._slowness.due, self._idle_until())

    def release(self, stream: H2Stream) -> None:
        super().release(stream)
        if not self.streams and self._idle_timeout < math.inf:
            self._set_alarm()

    def _idle_until(self) -> float:
        return math.inf if self.streams else self._idle_since + self._idle_timeout

    def _parse(self, data: bytes | bytearray) -> list[h2_events.Event]:
        try:
            return self.machine.receive_data(data)
        except ProtocolError:
            raise
        # Whatever else h2 and hpack stumble over, the peer's bytes brought it about.
        except Exception as error:
            if not isinstance(error, ValueError):
                log.warning("bytes of %s made the parser fail", self.peer.address, exc_info=True)
            self.machine.close_connection(ErrorCodes.PROTOCOL_ERROR)
            raise ProtocolError(f"unparsable: {error!r}") from error

    async def _write(self) -> None:
        machine = self.machine
        try:
            while True:
                while not machine.pending:
                    if self._last_words:
                        self.close_now()
                        return
                    await self._unsent.wait()
                data = machine.data_to_send()
                self._writing = len(data)
                self.room.leave()
                await self._stream.send_all(data)
                self._writing = 0
                if self.held:
                    self._hold_output()
        except (trio.BrokenResourceError, trio.ClosedResourceError, WireError):
            # What the peer said last, a TLS alert for instance, tells more than that it stopped listening:
            # the reader has a moment to find it.
            await trio.sleep(limits.CLOSE_GRACE)
            self.lose("the peer stopped listening")

    def _hold_output(self) -> None:
        if self.holdings is not None:
            self.holdings.update(self, 0 if self.closed else self.machine.pending + self._writing)

    def _start_handlers(self, handlers: trio.Nursery) -> None:
        fresh, self._fresh = self._fresh, []
        for stream in fresh:
            if stream.error is not None or self._accept is None:
                stream.close()
                continue
            stream.scope = scope = trio.CancelScope()
            handlers.start_soon(self._serve, stream, scope, self._accept)

    async def _serve(self, stream: H2Stream, scope: trio.CancelScope, accept: Accept) -> None:
        try:
            with scope:
                await accept(stream)
        # Cancelled may come along in the group, when the connection ends while the handler fails.
        except* Exception as errors:
            if is_peer_fault(errors):
                log.info("stream ended: %r", errors)
            else:
                log.exception("a stream handler failed")
        finally:
            stream.close()

    async def _close_stream(self) -> None:
        if isinstance(self._stream, SecureStream):
            # What was sent is the kernel's to deliver.
            self._stream.close()
            return
        with trio.move_on_after(limits.CLOSE_GRACE, shield=True) as closing:
            if not self._last_words:
                closing.cancel()
            try:
                await self._stream.aclose()
            except (trio.BrokenResourceError, WireError) as error:
                log.debug("closing: %r", error)
