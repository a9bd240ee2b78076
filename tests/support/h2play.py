"""Plays the cases of `h2cases` to our real listeners, over mTLS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

import hpack
import pytest
import trio
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from pharos.beacon.upstream import Upstreams
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from tests.support.h2cases import (
    ANSWER_SIZE,
    CHECK,
    GOOD_STREAM,
    HOLD,
    Answers,
    Begun,
    Case,
    Closes,
    Ended,
    Kills,
    Seen,
    Step,
    Target,
)
from tests.support.h2peer import PREFACE
from tests.support.listeners import running_listener

PATIENCE: Final = 5.0
"""Seconds for one case, of which each takes some 20 ms."""


class FramePeer:
    """The far end: it sends what it is told, acknowledges nothing, and notes all frames that come."""

    def __init__(self, stream: trio.abc.Stream, *, of_client: bool) -> None:
        self._stream = stream
        self._preface_left = len(PREFACE) if of_client else 0
        self._rest = b""
        self._decoder = hpack.Decoder()
        self.seen = Seen()
        self._noted = trio.Event()

    @classmethod
    @asynccontextmanager
    async def on(cls, stream: trio.abc.Stream, *, of_client: bool = False) -> AsyncIterator[Self]:
        """Read while the block runs; a client of ours begins with a preface."""
        try:
            async with trio.open_nursery() as nursery:
                self = cls(stream, of_client=of_client)
                nursery.start_soon(self._receive)
                yield self
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(stream)

    async def send(self, octets: bytes) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._stream.send_all(octets)

    async def take(self, step: Step) -> None:
        """Send, or wait for what the step waits for."""
        match step:
            case bytes():
                await self.send(step)
            case Ended(stream_id):
                await self.wait(lambda seen: stream_id in seen.ended or stream_id in seen.resets)
            case Begun(octets, stream_id):
                await self.wait(lambda seen: seen.octets(stream_id) >= octets)

    async def wait(self, holds: Callable[[Seen], bool]) -> None:
        """Wait until ``holds``, or until the connection has ended."""
        while not holds(self.seen) and not self.seen.closed:
            await self._noted.wait()

    async def _receive(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while octets := await self._stream.receive_some(65536):
                skipped = min(self._preface_left, len(octets))
                self._preface_left -= skipped
                self._rest += octets[skipped:]
                while len(self._rest) >= 9:
                    received, length = Frame.parse_frame_header(memoryview(self._rest[:9]))
                    if len(self._rest) < 9 + length:
                        break
                    received.parse_body(memoryview(self._rest[9 : 9 + length]))
                    self._rest = self._rest[9 + length :]
                    self._note(received)
                self._ring()
        self.seen.closed = True
        self._ring()

    def _ring(self) -> None:
        self._noted.set()
        self._noted = trio.Event()

    def _note(self, received: Frame) -> None:
        seen, stream_id = self.seen, received.stream_id
        seen.frames.append(received)
        match received:
            case GoAwayFrame():
                seen.goodbye = received.error_code
            case RstStreamFrame():
                seen.resets.setdefault(stream_id, received.error_code)
            case SettingsFrame():
                if "ACK" in received.flags:
                    seen.acknowledged += 1
                else:
                    seen.settings.append(received.settings)
            case PingFrame() if "ACK" in received.flags:
                seen.pongs.append(received.opaque_data)
            case HeadersFrame():
                assert "END_HEADERS" in received.flags
                fields = [(_text(name), _text(value)) for name, value in self._decoder.decode(received.data)]
                seen.headers.setdefault(stream_id, []).extend(fields)
                seen.opened.add(stream_id)
            case DataFrame():
                seen.sizes.setdefault(stream_id, []).append(len(received.data))
        if isinstance(received, HeadersFrame | DataFrame) and "END_STREAM" in received.flags:
            seen.ended.add(stream_id)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


async def play(case: Case, target: Target) -> Seen:
    """Play one case, and a good request after it; return what our side did within `PATIENCE`."""
    async with FramePeer.on(await target.listener.dial()) as peer:
        with trio.move_on_after(PATIENCE):
            await _play(case, target, peer)
        return peer.seen


async def _play(case: Case, target: Target, peer: FramePeer) -> None:
    await peer.send(case.prelude)
    steps = case.sends(target)
    for step in (steps,) if isinstance(steps, bytes) else steps:
        await peer.take(step)
    if isinstance(case.outcome, Kills | Closes):
        # What arrives while it closes makes a reset of the end, which could overtake its last words.
        await peer.wait(lambda seen: seen.goodbye is not None)
        await peer.send(target.call(GOOD_STREAM))
        await peer.wait(lambda seen: seen.closed)
    else:
        await peer.send(target.call(GOOD_STREAM))
        wanted = case.outcome.streams if isinstance(case.outcome, Answers) else ()
        await peer.wait(lambda seen: seen.ended >= {GOOD_STREAM, *wanted})


async def play_helm(stream: H2Stream) -> None:
    """Serve a passage as the control port's health service serves a call: an answer, or none to the end."""
    body = bytearray()
    while (chunk := await stream.receive_chunk()) is not None:
        body += chunk[0]
        stream.credit(chunk[1])
    await stream.send_headers([(":status", "200"), ("content-type", "application/grpc")])
    if HOLD in body:
        await trio.sleep_forever()
    await stream.send_data(bytes(ANSWER_SIZE))
    await stream.send_headers([("grpc-status", "0" if CHECK in body else "3")], end_stream=True)


@asynccontextmanager
async def running_target(name: str, folder: Path) -> AsyncIterator[Target]:
    """Run one of our servers: a buoy's ``control`` port, or a beacon's ``ingress`` with a helm behind it."""
    if name == "control":
        async with running_listener("control", folder) as listener:
            yield Target(name=name, listener=listener, streams=100)
        return
    upstreams = Upstreams()
    async with (
        running_listener("tunnel", folder, upstreams) as tunnel,
        running_listener("ingress", folder, upstreams) as ingress,
        trio.open_nursery() as nursery,
    ):
        helm = Connection(await tunnel.dial(), client_side=False, accept=play_helm, keepalive=None)
        nursery.start_soon(helm.run)
        await helm.wait_up()
        with trio.fail_after(PATIENCE):
            # The beacon takes it up in a task of its own, a turn later.
            while not len(upstreams):
                await trio.lowlevel.checkpoint()
        yield Target(name=name, listener=ingress, streams=4)
        nursery.cancel_scope.cancel()


TARGETS: Final = ("control", "ingress")


def each_section(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Parametrize a test with every section of the RFC, at every target: ``name`` and ``section``."""
    sections = dict.fromkeys(case.section for case in cases)
    return pytest.mark.parametrize(("name", "section"), [(name, section) for name in TARGETS for section in sections])


async def failures(name: str, cases: Iterable[Case], folder: Path) -> dict[str, str]:
    """Play the cases one after the other, each on a connection of its own; return what failed, and how."""
    failed: dict[str, str] = {}
    async with running_target(name, folder) as target:
        for case in cases:
            seen = await play(case, target)
            try:
                case.outcome.check(seen)
            except AssertionError as error:
                failed[case.what] = f"wanted {case.outcome}: {error}"
    return failed
