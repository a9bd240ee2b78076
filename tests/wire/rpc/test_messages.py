"""The message frame: caps, compression, truncation (security.md row 41)."""

import tracemalloc

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.wire.rpc import limits
from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.h2stream import TruncatedMessageError
from pharos.wire.rpc.messages import receive_message
from pharos.wire.units import MIB
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping
from tests.support.rpc import EchoService, frame, over_memory, request_headers


async def status_of(channel: Channel, *pieces: bytes, method: str = "Echo", end: bool = True) -> Status:
    """Send raw bytes as a request body and return the status of the answer."""
    stream = channel.connection.create_stream()
    await stream.send_request(request_headers(method))
    try:
        for piece in pieces:
            await stream.send_data(piece)
        if end:
            await stream.end()
        headers = await stream.recv_headers()
        trailers = headers if stream.ended and stream.trailers is None else await stream.recv_trailers()
        return Status(int(dict(trailers)["grpc-status"]))
    finally:
        stream.close()


async def test_length_above_the_cap_is_refused_from_its_prefix() -> None:
    async with over_memory([EchoService()]) as channel:
        prefix = frame(Ping(), claim=limits.MAX_MESSAGE + 1)
        assert await status_of(channel, prefix, end=False) is Status.RESOURCE_EXHAUSTED


async def test_without_the_cap_it_would_be_waited_for() -> None:
    """The proof that the test above can fail."""
    async with over_memory([EchoService()], max_message=2**32) as channel:
        prefix = frame(Ping(), claim=limits.MAX_MESSAGE + 1)
        assert await status_of(channel, prefix) is Status.INTERNAL


async def test_four_gib_claim_sets_nothing_aside() -> None:
    async with over_memory([EchoService()]) as channel:
        tracemalloc.start()
        try:
            status = await status_of(channel, frame(Ping(), claim=2**32 - 1), end=False)
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert status is Status.RESOURCE_EXHAUSTED
        assert peak < 1 * MIB


async def test_client_refuses_an_answer_above_its_cap() -> None:
    async with over_memory([EchoService()], max_message=1000) as channel:
        stub = EchoStub(channel)
        assert len((await stub.Echo(Ping(payload=b"p" * 990))).payload) == 990
        channel.max_message = 900  # type: ignore[misc]
        with pytest.raises(GRPCError) as caught:
            await stub.Echo(Ping(payload=b"p" * 990))
        assert caught.value.status is Status.RESOURCE_EXHAUSTED


async def test_message_of_exactly_the_cap_passes() -> None:
    size = len(Ping(payload=b"p" * 1000).SerializeToString())
    async with over_memory([EchoService()], max_message=size) as channel:
        assert len((await EchoStub(channel).Echo(Ping(payload=b"p" * 1000))).payload) == 1000


async def test_compressed_message_is_refused() -> None:
    async with over_memory([EchoService()]) as channel:
        for flag in (1, 0xFF):
            assert await status_of(channel, frame(Ping(seq=1), compressed=flag)) is Status.UNIMPLEMENTED


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 20])
async def test_truncated_message_is_an_error_of_its_call_only(cut: int) -> None:
    whole = frame(Ping(seq=1, payload=b"p" * 100))
    async with over_memory([EchoService()]) as channel:
        assert await status_of(channel, whole[:cut]) is Status.INTERNAL
        assert (await EchoStub(channel).Echo(Ping(seq=1))).seq == 1


async def test_bytes_that_are_no_protobuf_are_an_error_of_their_call_only() -> None:
    async with over_memory([EchoService()]) as channel:
        assert await status_of(channel, b"\0\0\0\0\3\xff\xff\xff") is Status.INTERNAL
        assert (await EchoStub(channel).Echo(Ping(seq=1))).seq == 1


async def test_message_comes_whole_however_it_was_cut() -> None:
    whole = frame(Ping(seq=1, payload=b"p" * 50))
    async with over_memory([EchoService()]) as channel:
        assert await status_of(channel, *(whole[n : n + 1] for n in range(len(whole)))) is Status.OK


async def test_several_messages_in_one_frame_are_told_apart() -> None:
    async with over_memory([EchoService()]) as channel:
        stream = channel.connection.create_stream()
        await stream.send_request(request_headers("Chat"))
        await stream.send_data(b"".join(frame(Ping(seq=n)) for n in range(10)), end_stream=True)
        answers = []
        while (data := await receive_message(stream, limits.MAX_MESSAGE)) is not None:
            answers.append(data)
        assert len(answers) == 11
        stream.close()


async def test_empty_message_is_a_message() -> None:
    async with over_memory([EchoService()]) as channel:
        assert await EchoStub(channel).Echo(Ping()) is not None


async def test_truncated_answer_tells_the_client() -> None:
    async with over_memory([EchoService()]) as channel:
        stream = channel.connection.create_stream()
        await stream.send_request(request_headers("Echo"))
        stream.buffered.extend(frame(Ping(payload=b"p" * 50))[:20])
        stream.ended = True
        with pytest.raises(TruncatedMessageError) as caught:
            await receive_message(stream, limits.MAX_MESSAGE)
        assert isinstance(caught.value, StreamTerminatedError)
        stream.ended = False
        stream.close()


async def test_invalid_timeout_and_metadata_are_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with over_memory([EchoService()]) as channel:
        for field in [
            ("grpc-timeout", "soon"),
            ("grpc-timeout", "9" * 9 + "H"),
            ("grpc-timeout", "1"),
            ("grpc-timeout", "1X"),
            ("blob-bin", "A"),
        ]:
            stream = channel.connection.create_stream()
            await stream.send_request(request_headers("Echo", field), end_stream=True)
            assert ("grpc-status", str(Status.INTERNAL.value)) in await stream.recv_headers()
            stream.close()


@pytest.mark.parametrize(
    ("name", "value", "status"), [(":method", "GET", "405"), ("content-type", "text/plain", "415")]
)
async def test_request_that_is_no_grpc_is_refused(name: str, value: str, status: str) -> None:
    async with over_memory([EchoService()]) as channel:
        headers = [(n, value if n == name else v) for n, v in request_headers("Echo")]
        stream = channel.connection.create_stream()
        await stream.send_request(headers, end_stream=True)
        assert (":status", status) in await stream.recv_headers()
        stream.close()
