"""Row 41. Position: any peer. Wants: memory by a length prefix, compression or nesting; a crash by what is no message.

Countermeasure: a length over the cap is refused from its prefix, before anything is set aside; no compression at all;
what does not parse is INTERNAL, and nobody's traceback.
"""

from __future__ import annotations

import gzip
import importlib
import pkgutil
import tracemalloc
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpclib.const import Status
from grpclib.exceptions import GRPCError

import pharos.wire.gen
from pharos.wire.rpc import messages
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.units import MIB
from tests.support.floods import DATA, END_STREAM, raw, request, target
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping
from tests.support.rpc import EchoService, frame, over_memory, request_headers

# A gRPC prefix: compressed or not, and a length in four octets.
FOUR_GIB = b"\0\xff\xff\xff\xff"
COMPRESSED = frame(Ping(seq=1), compressed=1)
_squeezed = gzip.compress(bytes(64 * MIB))
GZIP_BOMB = b"\1" + len(_squeezed).to_bytes(4, "big") + _squeezed
# Field 1 of Ping is a number, field 3 nobody knows; a group in a group in a group (wire types 3 and 4).
NESTED = b"\x1b" * 100_000
BAD_TEXT = b"\x0a\x02\xff\xfe"
NO_MESSAGE = b"\xff" * 50


def prefixed(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


async def status_of(data: bytes, *, method: str = "Echo", end: bool = True) -> Status:
    """Send ``data`` as the body of a call over memory, and return the status that it ends with."""
    async with over_memory([EchoService()]) as channel:
        stream = channel.connection.create_stream()
        try:
            await stream.send_request(request_headers(method))
            await stream.send_data(data, end_stream=end)
            headers = await stream.recv_headers()
            trailers = headers if stream.trailers is None and stream.ended else await stream.recv_trailers()
            return Status(int(dict(trailers)["grpc-status"]))
        finally:
            stream.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (FOUR_GIB, Status.RESOURCE_EXHAUSTED),
        (FOUR_GIB + bytes(1000), Status.RESOURCE_EXHAUSTED),
        (COMPRESSED, Status.UNIMPLEMENTED),
        (GZIP_BOMB[:100_000], Status.UNIMPLEMENTED),
        (prefixed(NESTED), Status.INTERNAL),
        (prefixed(NO_MESSAGE), Status.INTERNAL),
    ],
    ids=["4 GiB", "4 GiB and a little", "compressed", "gzip bomb", "nested", "no message"],
)
async def test_a41_bad_message_has_a_status_and_costs_nothing(data: bytes, status: Status) -> None:
    tracemalloc.start()
    try:
        assert await status_of(data, end=len(data) > 5) is status
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB


async def test_a41_truncated_message_has_a_status() -> None:
    assert await status_of(frame(Ping(seq=1, payload=b"x" * 100))[:-1]) is Status.INTERNAL


async def test_a41_turns_red_where_nobody_caps_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the tests above can fail: weakened, 64 MiB are set aside for a message that is one octet long."""

    async def believe(stream: H2Stream, _cap: int) -> bytes:
        while len(stream.buffered) < 5 and await stream.more():
            pass
        size = int.from_bytes(stream.take(5)[1:], "big")
        whole = bytearray(size)
        whole[: len(stream.buffered)] = stream.buffered
        return bytes(whole)

    monkeypatch.setattr("pharos.wire.rpc.server.receive_message", believe)
    tracemalloc.start()
    try:
        assert await status_of(b"\0" + (64 * MIB).to_bytes(4, "big") + b"x") is Status.INTERNAL
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak > 64 * MIB


async def test_a41_turns_red_where_nobody_refuses_compression(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof for compression: weakened, 65 kB on the wire are 64 MiB in memory."""

    async def inflate(stream: H2Stream, _cap: int) -> bytes:
        while await stream.more():
            pass
        return gzip.decompress(stream.take(len(stream.buffered))[5:])

    monkeypatch.setattr("pharos.wire.rpc.server.receive_message", inflate)
    tracemalloc.start()
    try:
        assert await status_of(GZIP_BOMB) is Status.INTERNAL
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(GZIP_BOMB) < 100_000
    assert peak > 64 * MIB


def test_a41_text_that_is_no_text_does_not_parse() -> None:
    texts = [d for d in messages_of_ours() if any(f.type == f.TYPE_STRING for f in d.fields)]
    assert texts
    for descriptor in texts:
        number = next(f.number for f in descriptor.fields if f.type == f.TYPE_STRING)
        kind = GetMessageClass(descriptor)
        tag = number << 3 | 2
        assert tag < 128
        with pytest.raises(GRPCError):
            messages.decode(bytes([tag, 2]) + BAD_TEXT[2:], kind)


def test_a41_no_message_of_ours_nests_deeper_than_32() -> None:
    """By its schema; unknown groups are bounded by protobuf itself, at 100 (`nested` above)."""

    def depth(descriptor: Descriptor, above: tuple[str, ...] = ()) -> int:
        assert descriptor.full_name not in above, f"{descriptor.full_name} contains itself"
        inner = [f.message_type for f in descriptor.fields if f.message_type is not None]
        return 1 + max((depth(d, (*above, descriptor.full_name)) for d in inner), default=0)

    assert max(depth(descriptor) for descriptor in messages_of_ours()) <= 32


def messages_of_ours() -> Iterator[Descriptor]:
    """Every message that a peer may send us."""
    for module in pkgutil.walk_packages(pharos.wire.gen.__path__, "pharos.wire.gen."):
        if module.name.endswith("_pb2"):
            file: FileDescriptor = importlib.import_module(module.name).DESCRIPTOR
            yield from file.message_types_by_name.values()


async def test_a41_server_serves_on() -> None:
    """Over mTLS, one after the other, beside a good client."""
    async with target() as server:
        bodies = [FOUR_GIB, COMPRESSED, prefixed(NO_MESSAGE), prefixed(BAD_TEXT)]
        calls = [request(2 * n + 1) + raw(DATA, END_STREAM, 2 * n + 1, body) for n, body in enumerate(bodies)]
        outcome = await server.attack(calls)
        assert (outcome.survived, outcome.goaway) == (True, None)
