"""Somebody else's gRPC speaks to a buoy: grpcio asks for its health, over the fleet's own mTLS."""

from __future__ import annotations

from pathlib import Path

import grpc
import trio
from cryptography.hazmat.primitives import serialization

from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.vault import open_vault
from pharos.helm.store.database import open_store
from pharos.wire.agent import AgentKeys
from pharos.wire.gen.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from pharos.wire.pki.roles import Role
from tests.support.fleet import HOST, running_fleet
from tests.support.pki import utc_now


def check_health(target: str, name: str, root: bytes, certificate: bytes, key: bytes, service: str) -> int:
    credentials = grpc.ssl_channel_credentials(root, key, certificate)
    options = [("grpc.ssl_target_name_override", name)]
    with grpc.secure_channel(target, credentials, options) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        return check(HealthCheckRequest(service=service), timeout=10).status


async def test_grpcio_client_calls_the_health_service_of_a_buoy(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        with open_store(fleet.helm_state) as store:
            authority = await store.run(load_authority, open_vault(fleet.helm_state), now=utc_now())
        pem = serialization.Encoding.PEM
        key = authority.controller.key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        name = AgentKeys(fleet.folder / "a", Role.NODE).membership(now=utc_now()).identity.dns_name
        assert name is not None
        for service in ("", "pharos.buoy.v1.Control"):
            status = await trio.to_thread.run_sync(
                check_health,
                f"{HOST}:{fleet.ports['a']['control_port']}",
                name,
                authority.trust.fleet_ca.public_bytes(pem),
                authority.controller.certificate.public_bytes(pem),
                key,
                service,
            )
            assert status == HealthCheckResponse.SERVING
