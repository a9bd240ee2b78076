"""Carries octets between a client on loopback and a stream of the tunnel, each direction with its own end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeVar

import trio

from pharos.wire.errors import RemoteProtocolError, TruncatedError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.front import (
    READ_BYTES,
    TUNNEL_ERRORS,
    Failure,
    Limits,
    OpenTcp,
    dismiss,
    failure_of,
    reset,
)
from pharos.wire.units import SECONDS

CLOSE_TIMEOUT: Final = 5 * SECONDS
"""For a stream to say that it ends, to a peer that has said so already: two round trips of a bad mobile link."""

RequestT_co = TypeVar("RequestT_co", covariant=True)
AnswerT_contra = TypeVar("AnswerT_contra", contravariant=True)
RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


class Asked(Protocol[RequestT_co]):
    """A proxy's protocol up to the request."""

    def receive_data(self, data: bytes, /) -> RequestT_co | None:
        """Raises: RemoteProtocolError — say what `take_output` returns, and close the connection."""

    def take_output(self) -> bytes:
        """Return what is to be sent, once."""


class Answering(Protocol[AnswerT_contra]):
    """A proxy's protocol from the request on."""

    def succeed(self) -> bytes:
        """Return the answer to a request that was granted."""

    def fail(self, answer: AnswerT_contra, /) -> bytes:
        """Return the answer to one that was not."""

    def take_early(self) -> bytes:
        """Return the payload that the client sent before it had its answer, once."""


async def receive_request(client: trio.SocketStream, machine: Asked[RequestT], protocol: str) -> RequestT:
    """Return what a client wants, once it has said so.

    Raises: TruncatedError — it ended before; RemoteProtocolError — it was dismissed; trio.BrokenResourceError.
    """
    while True:
        data = await client.receive_some(READ_BYTES)
        if not data:
            raise TruncatedError(f"{protocol}: the client ended before it said what it wants")
        try:
            request = machine.receive_data(bytes(data))
        except RemoteProtocolError:
            await dismiss(client, machine.take_output())
            raise
        await client.send_all(machine.take_output())
        if request is not None:
            return request


async def connect(
    client: trio.SocketStream,
    machine: Answering[AnswerT],
    address: Address,
    *,
    open_tcp: OpenTcp,
    limits: Limits,
    answers: Mapping[Failure, AnswerT],
) -> None:
    """Open the tunnel's stream, answer, and carry until both have ended; ``answers`` are for who cannot be reached."""
    early = Early(machine.take_early())
    try:
        upstream = await open_for(client, open_tcp, address.host, address.port, limits, early)
    except (*TUNNEL_ERRORS, trio.TooSlowError) as error:
        await dismiss(client, machine.fail(answers[failure_of(error)]))
        return
    async with upstream:
        await client.send_all(machine.succeed())
        await relay(client, upstream, limits, early)


class Early:
    """What a client said, at most one reading of it, while the tunnel was being opened."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.ended = False
        """It has said that it will say no more; it may be waiting for the answer all the same."""


async def open_for(
    client: trio.SocketStream, open_tcp: OpenTcp, host: str, port: int, limits: Limits, early: Early
) -> trio.abc.HalfCloseableStream:
    """Open the tunnel's stream, and give up as soon as the client is gone, of which nobody else would learn.

    Raises:
        trio.TooSlowError — the limits' ``open_timeout`` is over.
        trio.BrokenResourceError — the client is gone; whatever ``open_tcp`` raises.
    """
    failure: Exception | None = None
    upstream = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        try:
            data = await client.receive_some(READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            gone = True
            nursery.cancel_scope.cancel()
        else:
            early.data += data
            early.ended = not data

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                with trio.fail_after(limits.open_timeout):
                    upstream = await open_tcp(host, port)
            except (*TUNNEL_ERRORS, trio.TooSlowError) as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if upstream is None or gone:
            raise trio.BrokenResourceError("the client is gone")
    except BaseException:
        if upstream is not None:
            await trio.aclose_forcefully(upstream)
        raise
    return upstream


async def relay(
    client: trio.SocketStream, upstream: trio.abc.HalfCloseableStream, limits: Limits, early: Early
) -> None:
    """Carry both directions until both have ended, one breaks, or neither has said anything for ``idle_timeout``.

    What one side does not take is not read from the other. Owns ``upstream``; the client's stream is the caller's. If
    the tunnel broke, or somebody stops us, the client is told by a reset.
    """
    scope = trio.CancelScope()

    def touch() -> None:
        scope.deadline = trio.current_time() + limits.idle_timeout

    async def up() -> None:
        if early.data:
            await upstream.send_all(early.data)
        if not early.ended:
            await _pump(client.receive_some, upstream.send_all, touch)
        await upstream.send_eof()

    async def down() -> None:
        await _pump(upstream.receive_some, client.send_all, touch)
        await client.send_eof()

    broken: list[Exception] = []

    async def guarded(run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        except TUNNEL_ERRORS as error:
            broken.append(error)
            scope.cancel()

    touch()
    whole = False
    try:
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(guarded, up)
                nursery.start_soon(guarded, down)
            whole = not broken
    finally:
        if not whole:
            reset(client)
            await trio.aclose_forcefully(upstream)
    with trio.move_on_after(CLOSE_TIMEOUT):
        await upstream.aclose()


async def _pump(
    receive: Callable[[int], Awaitable[bytes | bytearray]],
    send: Callable[[bytes | bytearray], Awaitable[None]],
    touch: Callable[[], None],
) -> None:
    while data := await receive(READ_BYTES):
        touch()
        await send(data)
        touch()
