"""The gRPC health service (grpc.health.v1), for load balancers, probes and people with grpcurl."""

from typing import Final

import grpclib.server
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.wire.gen.grpc.health.v1 import health_grpc
from pharos.wire.gen.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

# The name that stands for the whole server.
OVERALL: Final = ""


class Health(health_grpc.HealthBase):
    """Tells who asks whether a service is serving. The server as a whole does, until told otherwise."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {OVERALL: True}
        self._changed = trio.Event()

    def set(self, service: str, serving: bool) -> None:
        """Record whether ``service`` (its full proto name, or "" for all) serves, and tell the watchers."""
        self._serving[service] = serving
        self._changed.set()
        self._changed = trio.Event()

    async def Check(self, stream: grpclib.server.Stream[HealthCheckRequest, HealthCheckResponse]) -> None:
        request = await stream.recv_message()
        if request is None or request.service not in self._serving:
            raise GRPCError(Status.NOT_FOUND, "unknown service")
        await stream.send_message(self._answer(request.service))

    async def Watch(self, stream: grpclib.server.Stream[HealthCheckRequest, HealthCheckResponse]) -> None:
        """Send the state now and at each change; SERVICE_UNKNOWN until the service is known."""
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "no request")
        told: HealthCheckResponse | None = None
        while True:
            changed = self._changed
            answer = self._answer(request.service)
            if answer != told:
                await stream.send_message(answer)
                told = answer
            await changed.wait()

    def _answer(self, service: str) -> HealthCheckResponse:
        serving = self._serving.get(service)
        if serving is None:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        return HealthCheckResponse(status=HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)
