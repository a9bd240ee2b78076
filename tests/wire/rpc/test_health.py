"""grpc.health.v1 on our own client."""

import pytest
import trio.testing
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.wire.gen.grpc.health.v1.health_grpc import HealthStub
from pharos.wire.gen.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from pharos.wire.rpc.health import Health
from tests.support.rpc import over_memory


async def test_check_tells_what_was_set() -> None:
    health = Health()
    async with over_memory([health]) as channel:
        stub = HealthStub(channel)
        assert (await stub.Check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
        with pytest.raises(GRPCError) as caught:
            await stub.Check(HealthCheckRequest(service="buoy"))
        assert caught.value.status is Status.NOT_FOUND
        health.set("buoy", serving=False)
        answer = await stub.Check(HealthCheckRequest(service="buoy"))
        assert answer.status == HealthCheckResponse.NOT_SERVING


async def test_watch_tells_every_change_once() -> None:
    health = Health()
    async with over_memory([health]) as channel:
        async with HealthStub(channel).Watch.open() as call:
            await call.send_message(HealthCheckRequest(service="buoy"), end=True)
            seen = [(await call.recv_message()).status]
            for serving in (True, True, False, True):
                health.set("buoy", serving=serving)
                await trio.testing.wait_all_tasks_blocked()
            for _ in range(3):
                seen.append((await call.recv_message()).status)
            assert not call._stream.buffered
            await call.cancel()
        known = HealthCheckResponse
        assert seen == [known.SERVICE_UNKNOWN, known.SERVING, known.NOT_SERVING, known.SERVING]
