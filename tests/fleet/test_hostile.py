"""A stranger's junk ends the stranger's connection, and the daemon serves on."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from grpclib.client import UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.vault import open_vault
from pharos.helm.store.database import open_store
from pharos.wire.agent import AgentKeys, Membership
from pharos.wire.errors import LinkLostError, LinkRefusedError, StateFileError
from pharos.wire.gen.pharos.buoy.v1 import control_grpc
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.pki.roles import Role
from pharos.wire.pki.tls import Credentials, client_context
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.flow import CONTROL, EDGE
from pharos.wire.rpc.transport import open_tls
from tests.support.fleet import HOST, Fleet, running_fleet
from tests.support.pki import utc_now

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
JUNK = {
    "no TLS": None,
    "garbage": b"\xff" * 300,
    "unknown frame": PREFACE + b"\0\0\4\xee\0\0\0\0\0abcd",
    "reset of an idle stream": PREFACE + b"\0\0\4\3\0\0\0\0\x09\0\0\0\0",
    "oversize frame": PREFACE + b"\xff\xff\xff\0\0\0\0\0\1",
    "truncated preface": PREFACE[:10],
}

# An unknown frame is ignored (RFC 9113 §4.1), and half a preface may still become a whole one: both are left open.
ENDURED = {JUNK["unknown frame"], JUNK["truncated preface"]}


def membership(fleet: Fleet, name: str, role: Role) -> Membership:
    return AgentKeys(fleet.folder / name, role).membership(now=utc_now())


async def helm_credentials(fleet: Fleet) -> Credentials:
    with open_store(fleet.helm_state) as store:
        return (await store.run(load_authority, open_vault(fleet.helm_state), now=utc_now())).controller


@asynccontextmanager
async def channel_to(
    fleet: Fleet, name: str, port: str, role: Role, credentials: Credentials | None
) -> AsyncIterator[Channel]:
    member = membership(fleet, name, role)
    context = client_context(trust=member.trust, credentials=credentials)
    dns_name = member.identity.dns_name
    assert dns_name is not None
    stream = await open_tls(HOST, fleet.ports[name][port], context, server_hostname=dns_name)
    async with open_channel(stream, windows=CONTROL if role is Role.NODE else EDGE, authority=dns_name) as channel:
        yield channel


@pytest.mark.parametrize(("name", "port"), [("a", "control_port"), ("gate", "ingress_port"), ("gate", "tunnel_port")])
async def test_junk_ends_its_own_connection_only(tmp_path: Path, name: str, port: str) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        for junk in JUNK.values():
            await send_junk(fleet, name, port, junk)
            # The daemon and the links of others live on.
            await fleet.wait_settled(peers=1)
        async with fleet.client() as client:
            await client.sync()


async def send_junk(fleet: Fleet, name: str, port: str, junk: bytes | None) -> None:
    if junk is None:
        tcp = await trio.open_tcp_stream(HOST, fleet.ports[name][port])
        await tcp.send_all(b"GET / HTTP/1.1\r\n\r\n" * 20)
        await read_to_the_end(tcp)
        return
    member = membership(fleet, name, Role.NODE if name == "a" else Role.RELAY)
    # The ingress takes strangers; the other two take helm alone, and even helm's junk is junk.
    credentials = None if port == "ingress_port" else await helm_credentials(fleet)
    dns_name = member.identity.dns_name
    assert dns_name is not None
    context = client_context(trust=member.trust, credentials=credentials)
    stream = await open_tls(HOST, fleet.ports[name][port], context, server_hostname=dns_name)
    await stream.send_all(junk)
    if junk in ENDURED:
        await trio.aclose_forcefully(stream)
    else:
        await read_to_the_end(stream)


async def read_to_the_end(stream: trio.abc.ReceiveStream) -> None:
    try:
        while await stream.receive_some(65536):
            pass
    except (trio.BrokenResourceError, ssl.SSLError):
        pass
    finally:
        await trio.aclose_forcefully(stream)


async def test_only_helm_may_speak_to_the_control_port(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        strangers = {
            "no certificate": None,
            "the node itself": membership(fleet, "a", Role.NODE).credentials,
            "a relay": membership(fleet, "gate", Role.RELAY).credentials,
            "a device": enrolled.credentials(),
        }
        for who, credentials in strangers.items():
            with pytest.raises((LinkRefusedError, LinkLostError)):
                async with channel_to(fleet, "a", "control_port", Role.NODE, credentials):
                    pytest.fail(f"{who} was let in")
        async with channel_to(fleet, "a", "control_port", Role.NODE, await helm_credentials(fleet)) as channel:
            reply = await control_grpc.ControlStub(channel).Status(pb.StatusRequest(), timeout=10)
        assert reply.node_id == membership(fleet, "a", Role.NODE).identity.id


async def test_beacon_forwards_the_passage_and_nothing_else(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        enrolled = await fleet.enrol()
        for path in (
            "/pharos.buoy.v1.Control/Status",
            "/pharos.relay.v1.Passage/Other",
            "/grpc.health.v1.Health/Check",
        ):
            async with channel_to(fleet, "gate", "ingress_port", Role.RELAY, enrolled.credentials()) as channel:
                method = UnaryUnaryMethod(channel, path, pb.StatusRequest, pb.StatusReply)
                with pytest.raises(GRPCError) as caught:
                    await method(pb.StatusRequest(), timeout=10)
            assert caught.value.status is Status.UNIMPLEMENTED


async def test_stranger_without_certificate_may_not_open_a_device_passage(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        async with channel_to(fleet, "gate", "ingress_port", Role.RELAY, None) as channel:
            method = UnaryUnaryMethod(channel, "/pharos.relay.v1.Passage/Open", pb.StatusRequest, pb.StatusReply)
            with pytest.raises(GRPCError) as caught:
                await method(pb.StatusRequest(), timeout=10, metadata={"x-passage": "device"})
        assert caught.value.status is Status.UNAUTHENTICATED


async def test_older_push_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        credentials = await helm_credentials(fleet)
        older = pb.PushRequest(fence=pb.Fence(epoch=1, term=1, revision=1), snapshot=True)
        # While a helm holds the node no other one is heard, and when nobody does the fence counts.
        for refusal in (Status.UNAVAILABLE, Status.FAILED_PRECONDITION):
            async with channel_to(fleet, "a", "control_port", Role.NODE, credentials) as channel:
                stub = control_grpc.ControlStub(channel)
                with pytest.raises(GRPCError) as caught:
                    await stub.Push(older, timeout=10)
                assert caught.value.status is refusal
                assert len((await stub.Status(pb.StatusRequest(), timeout=10)).peers) == 1
            await fleet.helm.stop()
            await fleet.buoys["a"].stop()
            await fleet.buoys["a"].start()


@pytest.mark.parametrize(("name", "file"), [("a", "desired.json"), ("a", "identity.json"), ("gate", "identity.json")])
async def test_agent_with_a_corrupt_state_file_does_not_start(tmp_path: Path, name: str, file: str) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.enrol()
        await fleet.wait_settled(peers=1)
        daemon = fleet.buoys["a"] if name == "a" else fleet.beacon
        assert daemon is not None
        await daemon.stop()
        path = fleet.folder / name / file
        damaged = path.read_bytes().replace(b'"', b"'", 3)
        path.write_bytes(damaged)
        # Orders are kept twice.
        (path.parent / "desired.copy.json").write_bytes(damaged)
        with pytest.raises(StateFileError, match=file) as caught:
            await daemon.run_once()
        assert "left as it is" in str(caught.value)
        assert path.read_bytes() == damaged


async def test_helm_sees_a_node_that_went_away(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as fleet:
        await fleet.buoys["a"].stop()
        await fleet.wait_status(lambda picture: picture["nodes"][0]["link"] == "lost")
        await fleet.buoys["a"].start()
        await fleet.wait_settled(peers=0)
