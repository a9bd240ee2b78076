"""A connection of REALITY as a Trio stream, behind its handshake and at either end."""

import operator
from typing import Final

import trio

from pharos.wire.errors import RemoteProtocolError, TruncatedError
from pharos.wire.reality.connection import Connection, DataReceived, State
from pharos.wire.reality.suites import Octets
from pharos.wire.tasks import Turn
from pharos.wire.units import KIB, SECONDS

CHUNK: Final = 128 * KIB
"""Received from the transport at once: 8 records of full size, opened in one pass of the event loop."""
SLICE: Final = 256 * KIB
"""Sealed at once, so that sending a large buffer holds no second one of its size."""
CLOSE_TIMEOUT: Final = 1 * SECONDS
"""How long a side that closes or fails tries to place its last record: one round trip of a bad mobile link."""


class RealityStream(trio.abc.HalfCloseableStream):
    """Application data both ways. Owns ``transport``.

    Fails as Trio streams do, with ``trio.BrokenResourceError``; ``failure`` then tells what the peer did, if it did
    anything. End of file is only what the peer authenticated, until TLS ends by agreement of the protocol within
    (`end_tls_receiving`, `end_tls_sending`); then it is the transport's. A cancelled receive loses nothing; after a
    cancelled send only `aclose` is left.
    """

    def __init__(self, transport: trio.abc.HalfCloseableStream, connection: Connection) -> None:
        self.transport: Final = transport
        self.connection: Final = connection
        self.failure: RemoteProtocolError | None = None
        """Why the connection failed, if the peer's octets were the reason."""
        self._sending = Turn("sending into this REALITY stream")
        self._receiving = Turn("receiving from this REALITY stream")
        self._pending = memoryview(b"")
        self._receives_raw = False
        self._sends_raw = False
        self._torn = False
        self._send_ended = False
        self._closed = False

    async def send_all(self, data: Octets) -> None:
        """Raises: trio.BrokenResourceError; trio.ClosedResourceError — closed, or after `send_eof`."""
        with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_sendable()
            with memoryview(data) as view:
                if not view:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                for start in range(0, len(view), SLICE):
                    if self._sends_raw:
                        await self._transmit(view[start : start + SLICE])
                    else:
                        self.connection.send(view[start : start + SLICE])
                        await self._transmit(self.connection.take_output())

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending:
            self._check_sendable()
            await self.transport.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End our direction, authenticated unless TLS has ended in it; receiving goes on."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            if self._send_ended and not self._closed:
                return
            self._check_sendable()
            if not self._sends_raw:
                self.connection.send_end()
                await self._transmit(self.connection.take_output())
            await self.transport.send_eof()
            self._send_ended = True

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the data of as many records as are there, at least of one; nothing at the end.

        Raises: trio.BrokenResourceError, trio.ClosedResourceError.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_open()
            if not self._pending:
                if self._receives_raw:
                    return bytes(await self.transport.receive_some(max_bytes))
                data = await self._next_data(one_record=False)
                if max_bytes is None or len(data) <= max_bytes:
                    return bytes(data)
                self._pending = memoryview(data)
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
            taken = bytes(self._pending[:max_bytes])
            self._pending = self._pending[len(taken) :]
            return taken

    async def receive_record(self) -> Octets:
        """Return the data of one record, and open none ahead; nothing at the end.

        For a protocol within that may end TLS behind any record. Raises as `receive_some` does.
        """
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_open()
            if not self._pending:
                return await self._next_data(one_record=True)
            await trio.lowlevel.cancel_shielded_checkpoint()
            taken, self._pending = self._pending, memoryview(b"")
            return taken

    def end_tls_receiving(self) -> None:
        """From now on, receive what comes as it is, beginning with what was received and not opened."""
        self._receives_raw = True
        self._pending = memoryview(bytes(self._pending) + self.connection.take_rest())

    def end_tls_sending(self) -> None:
        """From now on, send everything as it is; no record will say that we have ended."""
        self._sends_raw = True

    async def aclose(self) -> None:
        """Say, authenticated, that we send no more, and close the transport; at most `CLOSE_TIMEOUT`, if it hangs.

        The end is sent under a bounded shield, for a side that was told to stop has still ended by its own will.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True) as scope:
            try:
                if not (self._broken or self._send_ended or self._sends_raw or self._sending.taken):
                    self.connection.send_end()
                    await self._transmit(self.connection.take_output())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                if self._broken:
                    scope.cancel()
                await self.transport.aclose()

    @property
    def _broken(self) -> bool:
        return self._torn or self.failure is not None

    async def _next_data(self, *, one_record: bool) -> Octets:
        """Wait for data; nothing once the peer has said that it ends, however often it is asked."""
        if self.failure is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise trio.BrokenResourceError("the REALITY stream has failed") from self.failure
        waited = False
        try:
            while not (data := self._open_records(one_record=one_record)):
                if self.connection.state is State.PEER_CLOSED:
                    break
                chunk = await self.transport.receive_some(CHUNK)
                waited = True
                if not chunk:
                    raise TruncatedError("the transport ended, and the peer has not said so")
                self.connection.receive(chunk)
        except RemoteProtocolError as error:
            self.failure = error
            await self._tell_alert()
            raise trio.BrokenResourceError(f"the REALITY stream failed: {error}") from error
        if not waited:
            # The transport lets others run only when it is asked; a stream has to at each call.
            await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    def _open_records(self, *, one_record: bool) -> Octets:
        found: list[Octets] = []
        while self.connection.state is State.CONNECTED:
            if not one_record and (data := self.connection.open_data()):
                found.append(data)
            try:
                event = self.connection.next_event()
            except RemoteProtocolError as error:
                if not found:
                    raise
                # What came before it is good, and is given out; the next call tells the error.
                self.failure = error
                break
            if event is None:
                break
            if isinstance(event, DataReceived):
                found.append(event.data)
                if one_record:
                    break
        return found[0] if len(found) == 1 else b"".join(found)

    async def _tell_alert(self) -> None:
        """Send what the connection has for a peer that broke it, unless somebody is in the middle of sending."""
        alert = self.connection.take_output()
        if alert and not (self._torn or self._sending.taken or self._send_ended or self._sends_raw):
            with self._sending, trio.move_on_after(CLOSE_TIMEOUT):
                try:
                    await self._transmit(alert)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return

    async def _transmit(self, data: Octets) -> None:
        # Cancelled half-way, nobody knows how much has gone: the next record would be read as the rest of this one.
        self._torn = True
        await self.transport.send_all(data)
        self._torn = False

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this REALITY stream is closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._send_ended:
            raise trio.ClosedResourceError("this direction of the REALITY stream has ended")
        if self._broken:
            raise trio.BrokenResourceError("the REALITY stream has failed") from self.failure
