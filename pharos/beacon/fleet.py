"""What a beacon says itself to whoever asks: the trust manifest that it goes by, public and signed by the root.

A device that logs in knows the hash of the root and nothing else; in the manifest it finds helm's Noise key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.beacon.sanitize import Refusal
from pharos.wire.gen.pharos.relay.v1 import fleet_grpc
from pharos.wire.gen.pharos.relay.v1 import fleet_pb2 as pb
from pharos.wire.rpc.server import Service
from pharos.wire.units import SECONDS

MANIFEST_PATH: Final = "/pharos.relay.v1.Fleet/Manifest"
# The request is empty.
MAX_REQUEST: Final = 64
REQUEST_TIME: Final = 10 * SECONDS


class FleetDesk(fleet_grpc.FleetBase):
    """Answers from what is kept."""

    def __init__(self, manifest: Callable[[], bytes]) -> None:
        self._manifest = manifest

    async def Manifest(self, stream: Stream[pb.ManifestRequest, pb.ManifestReply]) -> None:
        """Tell the manifest."""
        with trio.fail_after(REQUEST_TIME):
            await stream.recv_message()
            manifest = self._manifest()
            if not manifest:
                # helm brings one with its first tunnel.
                raise GRPCError(Status.UNAVAILABLE, Refusal.HELM_AWAY.value)
            await stream.send_message(pb.ManifestReply(manifest=manifest))


def make_fleet_service(manifest: Callable[[], bytes]) -> Service:
    """Return what answers `MANIFEST_PATH`; ``manifest`` gives what is kept, empty for none."""
    return Service([FleetDesk(manifest)], max_message=MAX_REQUEST)
