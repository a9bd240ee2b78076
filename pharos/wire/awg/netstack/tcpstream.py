"""A TCP connection as a Trio stream."""

from __future__ import annotations

import errno
import operator
from typing import Final

import trio

from pharos.wire.awg.netstack.driver import Driver
from pharos.wire.awg.netstack.tcp.states import State
from pharos.wire.awg.netstack.tcptable import TcpEntry
from pharos.wire.tasks import Turn
from pharos.wire.units import KIB

READ_BYTES: Final = 128 * KIB
"""Returned at a time, where the caller does not say: a batch of 64 full packets has 87 KiB."""
_WORTHWHILE: Final = 64 * KIB
"""Room in the send buffer for which a sender is woken: a wake costs as much as several packets."""


class NetstackStream(trio.abc.HalfCloseableStream):
    """Behaves as trio's own over a socket does: after `aclose`, what was sent is still delivered.

    A cancelled receive loses nothing; after a cancelled send nobody knows how much went, and it should be closed.
    """

    def __init__(self, driver: Driver, entry: TcpEntry) -> None:
        self._driver = driver
        self._entry = entry
        self._connection = entry.connection
        self._sending = Turn("sending into this stream")
        self._receiving = Turn("receiving from this stream")
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._wanted = 1  # Octets of room that a writer waits for.
        self._send_ended = False
        self._closed = False
        self._connects = False
        entry.on_change = self._on_change

    @property
    def remote(self) -> tuple[bytes, int]:
        """Packed address and port of the other end."""
        flow = self._connection.flow
        return flow.remote, flow.remote_port

    @property
    def local(self) -> tuple[bytes, int]:
        flow = self._connection.flow
        return flow.local, flow.local_port

    async def wait_established(self) -> None:
        """Wait until the other end has answered.

        Raises: OSError — it cannot be reached, or refuses. trio.BrokenResourceError — the link has ended.
        """
        await trio.lowlevel.checkpoint()
        self._connects = True
        while not self._connection.is_established:
            if self._connection.failure is not None:
                raise self._connection.failure
            if self._connection.state is State.CLOSED:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the connection was given up")
            await self._wait(self._readers)
        self._connects = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Raises: trio.BrokenResourceError; trio.ClosedResourceError — closed, or after `send_eof`."""
        with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_sendable()
            waited = False
            with memoryview(data) as view, view.cast("B") as octets:
                at = 0
                while at < len(octets):
                    with octets[at:] as rest:
                        taken = self._write(rest)
                    at += taken
                    if at < len(octets):
                        waited = True
                        await self._wait_writable(min(_WORTHWHILE, len(octets) - at))
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Raises: as `send_all`."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            await self._wait_writable(1)

    async def send_eof(self) -> None:
        """Raises: as `send_all`."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            if self._send_ended and not self._closed:
                return
            self._check_sendable()
            self._send_ended = True
            self._connection.write_eof(trio.current_time())
            self._flush()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what is there, at least one octet; nothing at the end.

        Raises: trio.BrokenResourceError, trio.ClosedResourceError.
        """
        if max_bytes is None:
            max_bytes = READ_BYTES
        elif operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            await trio.lowlevel.checkpoint()
            connection = self._connection
            while True:
                self._check_open()
                if connection.readable:
                    data = connection.read(max_bytes, trio.current_time())
                    # The window may have opened.
                    self._flush()
                    return data
                if connection.at_eof:
                    return b""
                self._check_alive()
                await self._wait(self._readers)

    async def aclose(self) -> None:
        self._close()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Reset the connection: the other end learns that what came is not all."""
        if not self._closed:
            self._closed = True
            self._connection.abort(trio.current_time())
            self._flush()
            self._on_change()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._entry.leaving = True
            self._connection.close(trio.current_time())
            self._flush()
            self._on_change()

    def _write(self, data: memoryview) -> int:
        self._check_alive()
        try:
            taken = self._connection.write(data, trio.current_time())
        except OSError as error:
            raise trio.BrokenResourceError(_told(error)) from error
        if taken:
            self._flush()
        return taken

    async def _wait_writable(self, least: int) -> None:
        while True:
            self._check_alive()
            self._wanted = least
            if self._has_room():
                return
            await self._wait(self._writers)
            self._check_sendable()

    async def _wait(self, lot: trio.lowlevel.ParkingLot) -> None:
        if self._driver.ended.is_set():
            raise trio.BrokenResourceError("the tunnel has ended")
        await lot.park()

    def _has_room(self) -> bool:
        """Whether to wake a writer: for what it wants, or a quarter of a buffer that is not large."""
        room = self._connection.writable
        return room >= self._wanted or (room > 0 and 4 * room >= room + self._connection.unsent)

    def _on_change(self) -> None:
        connection = self._connection
        over = self._closed or self._driver.ended.is_set() or connection.state is State.CLOSED
        if self._readers and (over or connection.readable or connection.at_eof or self._connects):
            self._readers.unpark_all()
        if self._writers and (over or self._has_room()):
            self._writers.unpark_all()

    def _flush(self) -> None:
        self._driver.host.tcp.touch(self._entry)
        self._driver.flush()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._send_ended:
            raise trio.ClosedResourceError("the end was sent already")

    def _check_alive(self) -> None:
        failure = self._connection.failure
        if failure is not None:
            raise trio.BrokenResourceError(_told(failure)) from failure
        if self._connection.state is State.CLOSED:
            raise trio.BrokenResourceError("the connection is over")


def _told(error: OSError) -> str:
    return error.strerror or str(error)
