"""What a beacon tells strangers itself: the manifest, in bounds of its own, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from trio.testing import MockClock as Clock

from pharos.beacon.fleet import MANIFEST_PATH, MAX_REQUEST, REQUEST_TIME, make_fleet_service
from pharos.beacon.ingress import serve_client
from pharos.beacon.limiter import SOURCE_BURST, PassageLimiter
from pharos.beacon.upstream import Upstreams
from pharos.wire.gen.pharos.relay.v1 import fleet_grpc
from pharos.wire.gen.pharos.relay.v1 import fleet_pb2 as pb
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import EDGE
from pharos.wire.rpc.peer import Peer
from tests.support.relay import passage_headers


@asynccontextmanager
async def asking(
    limiter: PassageLimiter, manifest: list[bytes], *, certificate: bytes | None = None, address: str = "192.0.2.1"
) -> AsyncIterator[Channel]:
    """Connect to a beacon that keeps a manifest."""
    theirs, ours = trio.testing.memory_stream_pair()
    peer = Peer(address=(address, 40_000), certificate=certificate)
    fleet = make_fleet_service(lambda: manifest[0])
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await serve_client(Upstreams(), limiter, ours, peer=peer, fleet=fleet)

        nursery.start_soon(serve)
        async with open_channel(theirs, windows=EDGE, authority="beacon") as channel:
            yield channel


async def told(channel: Channel) -> bytes | str:
    try:
        return (await fleet_grpc.FleetStub(channel).Manifest(pb.ManifestRequest())).manifest
    except GRPCError as error:
        return f"{error.status.name}: {error.message}"


async def test_stranger_is_told_the_manifest_as_it_is_now(autojump_clock: Clock) -> None:
    manifest = [b""]
    async with asking(PassageLimiter(), manifest) as channel:
        assert await told(channel) == "UNAVAILABLE: helm is not connected to this relay"
        manifest[0] = b"signed"
        assert await told(channel) == b"signed"


async def test_asking_has_bounds_of_its_own(autojump_clock: Clock) -> None:
    limiter = PassageLimiter()
    async with asking(limiter, [b"signed"]) as channel:
        answers = [await told(channel) for _ in range(SOURCE_BURST + 1)]
    assert answers == [b"signed"] * SOURCE_BURST + ["RESOURCE_EXHAUSTED: too many tries from this address"]
    async with asking(limiter, [b"signed"], address="192.0.2.2") as channel:
        assert await told(channel) == b"signed"
    assert limiter.admit(trio.current_time(), stranger="192.0.2.1") is None, "passages are counted apart"


async def test_device_has_a_manifest_and_asks_for_none(autojump_clock: Clock) -> None:
    async with asking(PassageLimiter(), [b"signed"], certificate=b"a certificate") as channel:
        assert await told(channel) == "UNIMPLEMENTED: only the passage is served here"


async def test_who_asks_for_ever_is_left(autojump_clock: Clock) -> None:
    async with asking(PassageLimiter(), [b"signed"]) as channel:
        began = trio.current_time()
        async with fleet_grpc.FleetStub(channel).Manifest.open() as call:
            await call.send_request()
            with pytest.raises(GRPCError, match="DEADLINE_EXCEEDED"):
                await call.recv_initial_metadata()
            await call.cancel()
        assert trio.current_time() - began == REQUEST_TIME


@pytest.mark.parametrize(
    "path",
    [
        *(f"{MANIFEST_PATH}/", f"{MANIFEST_PATH}/..", f"/{MANIFEST_PATH}", f"{MANIFEST_PATH}?", MANIFEST_PATH.lower()),
        *("/pharos.relay.v1.Fleet/", "/pharos.relay.v1.Fleet/Open", "/X/pharos.relay.v1.Fleet/Manifest"),
    ],
)
async def test_nothing_that_is_nearly_its_path_is_answered(autojump_clock: Clock, path: str) -> None:
    async with asking(PassageLimiter(), [b"signed"]) as channel:
        stream = channel.connection.create_stream()
        await stream.send_request([(n, path if n == ":path" else v) for n, v in passage_headers("login")])
        assert dict(await stream.recv_headers())["grpc-status"] == "12"


async def test_long_question_is_not_read(autojump_clock: Clock) -> None:
    async with asking(PassageLimiter(), [b"signed"]) as channel:
        stream = channel.connection.create_stream()
        await stream.send_request([(n, MANIFEST_PATH if n == ":path" else v) for n, v in passage_headers("login")])
        await stream.send_data(b"\0" + (MAX_REQUEST + 1).to_bytes(4, "big") + bytes(MAX_REQUEST + 1), end_stream=True)
        assert dict(await stream.recv_headers())["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
