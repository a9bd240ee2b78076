from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.wire.errors import DecryptError, LocalProtocolError, RemoteProtocolError, TruncatedError, WireError
from pharos.wire.noise.handshake import Handshake
from pharos.wire.noise.keys import KeyPair
from pharos.wire.noise.patterns import SUFFIX
from pharos.wire.noise.stream import CLOSE_TIMEOUT, LengthPrefixedFrames, NoiseStream, open_noise
from pharos.wire.noise.symmetric import MAX_MESSAGE

Edit = Callable[[int, bytes], list[bytes]]


def nn(*, initiator: bool) -> Handshake:
    return Handshake(f"Noise_NN_{SUFFIX}", initiator=initiator, generate=KeyPair.generate)


class MangledFrames(LengthPrefixedFrames):
    """Frames that somebody between edits on their way out."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.edit: Edit | None = None
        self.sent = 0

    async def send_frame(self, frame: bytes) -> None:
        frames = [frame] if self.edit is None else self.edit(self.sent, frame)
        self.sent += 1
        for one in frames:
            await super().send_frame(one)


async def noise_pair() -> tuple[NoiseStream, NoiseStream]:
    left, right, _ = await mangled_pair()
    return left, right


async def mangled_pair() -> tuple[NoiseStream, NoiseStream, MangledFrames]:
    left_end, right_end = trio.testing.memory_stream_pair()
    left_frames = MangledFrames(left_end)
    opened: list[NoiseStream] = []

    async def respond() -> None:
        opened.append(await open_noise(LengthPrefixedFrames(right_end), nn(initiator=False)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(respond)
        left = await open_noise(left_frames, nn(initiator=True))
    left_frames.sent = 0
    return left, opened[0], left_frames


async def test_it_keeps_the_contract_of_a_trio_stream() -> None:
    await trio.testing.check_two_way_stream(noise_pair, None)


async def test_both_ends_share_one_handshake_hash() -> None:
    left, right = await noise_pair()
    other, _ = await noise_pair()
    assert left.handshake_hash == right.handshake_hash != other.handshake_hash


@given(chunks=st.lists(st.integers(0, 200_000), max_size=4), step=st.integers(1, 70_000))
@settings(max_examples=15, deadline=None)
async def test_data_arrives_whole_whatever_the_chunks(chunks: list[int], step: int) -> None:
    left, right = await noise_pair()
    sent = b"".join(bytes([index + 1]) * size for index, size in enumerate(chunks))
    received = bytearray()

    async def send() -> None:
        for index, size in enumerate(chunks):
            await left.send_all(bytes([index + 1]) * size)
        await left.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while chunk := await right.receive_some(step):
            assert len(chunk) <= step
            received += chunk
    assert received == sent
    assert right.failure is None


def flip(_: int, frame: bytes) -> list[bytes]:
    return [frame[:-1] + bytes([frame[-1] ^ 1])]


def reorder_first_two() -> Edit:
    held: list[bytes] = []

    def edit(number: int, frame: bytes) -> list[bytes]:
        if number == 0:
            held.append(frame)
            return []
        return [frame, *held] if number == 1 else [frame]

    return edit


MANGLERS: dict[str, Edit] = {
    "flip": flip,
    "replay": lambda _, frame: [frame, frame],
    "drop": lambda number, frame: [] if number == 0 else [frame],
    "reorder": reorder_first_two(),
    "shorten": lambda _, frame: [frame[:-1]],
    "inject": lambda _, frame: [bytes(64), frame],
    "empty": lambda _, frame: [b"", frame],
}


async def receive_until_broken(stream: NoiseStream) -> bytes:
    received = bytearray()
    try:
        while True:
            received += await stream.receive_some()
    except trio.BrokenResourceError:
        return bytes(received)


@pytest.mark.parametrize("mangler", MANGLERS)
async def test_a_mangled_frame_ends_the_session(mangler: str) -> None:
    left, right, frames = await mangled_pair()
    frames.edit = MANGLERS[mangler]
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_all, b"one")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(left.send_all, b"two")
            received = await receive_until_broken(right)
    assert isinstance(right.failure, DecryptError)
    assert received in (b"", b"one")
    with pytest.raises(trio.BrokenResourceError):
        await right.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await right.send_all(b"answer")


async def test_truncation_is_not_an_end() -> None:
    left, right, frames = await mangled_pair()
    await left.send_all(b"data")
    frames.edit = lambda _, frame: []
    await left.aclose()
    assert await right.receive_some() == b"data"
    with pytest.raises(trio.BrokenResourceError):
        await right.receive_some()
    assert isinstance(right.failure, TruncatedError)


async def test_after_a_forgery_no_authentic_end_is_sent() -> None:
    left, right, frames = await mangled_pair()
    frames.edit = flip
    await left.send_all(b"data")
    with pytest.raises(trio.BrokenResourceError):
        await right.receive_some()
    await right.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await left.receive_some()
    assert isinstance(left.failure, TruncatedError)


async def test_a_cancelled_send_leaves_only_close(autojump_clock: trio.testing.MockClock) -> None:
    left_end, right_end = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_noise, LengthPrefixedFrames(right_end), nn(initiator=False))
        left = await open_noise(LengthPrefixedFrames(left_end), nn(initiator=True))
    with trio.move_on_after(1) as scope:
        await left.send_all(b"nobody reads this")
    assert scope.cancelled_caught
    with pytest.raises(trio.BrokenResourceError):
        await left.send_all(b"more")
    before = trio.current_time()
    await left.aclose()
    assert trio.current_time() == before


async def test_closing_towards_a_stalled_peer_takes_a_second_at_most(autojump_clock: trio.testing.MockClock) -> None:
    left_end, right_end = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_noise, LengthPrefixedFrames(right_end), nn(initiator=False))
        left = await open_noise(LengthPrefixedFrames(left_end), nn(initiator=True))
    before = trio.current_time()
    await left.aclose()
    assert trio.current_time() - before == CLOSE_TIMEOUT


async def test_a_forced_close_still_tells_a_listening_peer() -> None:
    left, right = await noise_pair()
    await trio.aclose_forcefully(left)
    assert await right.receive_some() == b""


async def test_a_cancelled_receive_loses_nothing() -> None:
    left, right = await noise_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await right.receive_some()
    await left.send_all(b"data")
    assert await right.receive_some() == b"data"


async def test_a_handshake_that_never_comes_is_truncated() -> None:
    left, right = trio.testing.memory_stream_pair()
    await right.aclose()
    with pytest.raises(TruncatedError):
        await open_noise(LengthPrefixedFrames(left), nn(initiator=False))


async def test_a_payload_nobody_agreed_on_is_refused() -> None:
    left, right = trio.testing.memory_stream_pair()
    await LengthPrefixedFrames(right).send_frame(nn(initiator=True).write(b"surprise"))
    with pytest.raises(RemoteProtocolError, match="payload"):
        await open_noise(LengthPrefixedFrames(left), nn(initiator=False))


async def test_a_frame_cut_by_the_end_of_the_stream_is_truncated() -> None:
    left, right = trio.testing.memory_stream_pair()
    await right.send_all(b"\x00\x05abc")
    await right.aclose()
    with pytest.raises(TruncatedError):
        await LengthPrefixedFrames(left).receive_frame()


async def test_a_frame_too_long_for_its_prefix_is_misuse() -> None:
    left, _ = trio.testing.memory_stream_pair()
    with pytest.raises(LocalProtocolError):
        await LengthPrefixedFrames(left).send_frame(bytes(MAX_MESSAGE + 1))


@asynccontextmanager
async def junk_server(junk: bytes) -> AsyncIterator[trio.abc.Stream]:
    left, right = trio.testing.memory_stream_pair()
    await right.send_all(junk)
    await right.aclose()
    yield left


@given(junk=st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
async def test_junk_instead_of_a_handshake_is_refused(junk: bytes) -> None:
    async with junk_server(junk) as stream:
        handshake = Handshake(
            f"Noise_NK_{SUFFIX}",
            initiator=False,
            static=KeyPair.from_private_bytes(bytes([7] * 32)),
            generate=KeyPair.generate,
        )
        with pytest.raises(WireError):
            await open_noise(LengthPrefixedFrames(stream), handshake)
