"""A device and its node by REALITY: whole servers on loopback, real sockets."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
import trio

from pharos.caravel.errors import NoAnswerError, NoSuchNodeError
from pharos.caravel.profiles.store import DeviceSecrets, generate_secrets
from pharos.caravel.profiles.ways import examine
from pharos.caravel.tunnel import reality, retrying
from pharos.caravel.tunnel.amnezia import pairing_of
from pharos.caravel.tunnel.reality import RealityTunnel, Way, open_reality_tunnel
from pharos.caravel.tunnel.realityways import link_of_node, open_link_reality, open_node_reality
from pharos.demo.processes import free_port
from pharos.wire.errors import LinkLostError, LinkRefusedError, ParameterError
from pharos.wire.ids import DeviceId, FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.profile import Profile, ProfileNode, RealityAccess
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.control import UserChange
from pharos.wire.reality.errors import RealCertificateError
from pharos.wire.reality.options import Endpoint
from pharos.wire.reality.racing import race_reality
from pharos.wire.reality.sharelink import ShareLink
from pharos.wire.reality.vless import Flow
from pharos.wire.reality.xudp import Datagram
from pharos.wire.seal.blind import derive_uuid
from pharos.wire.seal.realitykey import derive_reality_key, prove_reality_key
from tests.support.reality import NAME, SHORT_ID, node_public_key, settings
from tests.wire.reality.fronts import HOST, receive_all, running_target, running_udp_echo
from tests.wire.reality.nodes import IDS, PLAIN, VISION, Node, running_node, running_site, site_context

FLEET, NODE = FleetId("0123456789abcdef"), NodeId("n")
DERIVE, AWG = KeyPair.generate(), KeyPair.generate()
REALITY = derive_reality_key(DERIVE, fleet=FLEET, node=NODE, generation=1)
STRANGER = bytes(range(16))
Opened: TypeAlias = AbstractAsyncContextManager[RealityTunnel]


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    return site_context(tmp_path)


def endpoint(port: int, **changes: Any) -> Endpoint:
    return Endpoint(host=HOST, port=port, settings=settings(**changes))


def opened(*ports: int, ids: tuple[bytes, ...] = (IDS[VISION],), flow: Flow = Flow.VISION) -> Opened:
    return open_reality_tunnel("node amsterdam", [Way(endpoint=endpoint(port), flow=flow) for port in ports], ids)


@asynccontextmanager
async def scene(context: ssl.SSLContext, **options: Any) -> AsyncIterator[tuple[Node, int]]:
    """A node, and a target that echoes behind it."""
    async with running_site(context) as site, running_target() as target, running_node(site.port, **options) as node:
        yield node, target.port


async def echoes(tunnel: RealityTunnel, port: int, data: bytes = b"data") -> bool:
    async with await tunnel.open_tcp_stream(HOST, port) as stream:
        await stream.send_all(data)
        await stream.send_eof()
        return await receive_all(stream) == data


@pytest.mark.parametrize("user", [PLAIN, VISION])
async def test_streams_and_datagrams_go_through(context: ssl.SSLContext, user: str) -> None:
    flow = Flow.VISION if user == VISION else Flow.NONE
    async with scene(context) as (node, target), running_udp_echo() as udp:
        async with opened(node.port, ids=(IDS[user],), flow=flow) as tunnel:
            assert await tunnel.wait_up(20) > 0
            assert await echoes(tunnel, target, os.urandom(300_000))
            async with await tunnel.open_udp() as datagrams:
                await datagrams.send_datagram(Datagram(udp, b"one"))
                assert await datagrams.receive_datagram() == Datagram(udp, b"Eone")


async def test_a_way_that_is_closed_costs_nothing_and_the_one_that_led_there_leads_from_then_on(
    context: ssl.SSLContext,
) -> None:
    closed = free_port(socket.SOCK_STREAM)
    async with scene(context) as (node, target), opened(closed, node.port) as tunnel:
        assert await echoes(tunnel, target)
        assert [way.endpoint.port for way in tunnel._ways] == [node.port, closed]
        assert await echoes(tunnel, target)


async def test_a_node_that_was_away_is_dialled_anew(context: ssl.SSLContext) -> None:
    async with running_site(context) as site, running_target() as target:
        port = free_port(socket.SOCK_STREAM)
        async with opened(port) as tunnel:
            for _ in range(2):
                with pytest.raises(LinkLostError):
                    await echoes(tunnel, target.port)
                async with running_node(site.port, listen=((HOST, port),)):
                    assert await echoes(tunnel, target.port)


async def test_waiting_goes_on_until_the_node_is_there(context: ssl.SSLContext) -> None:
    port = free_port(socket.SOCK_STREAM)
    async with running_site(context) as site, opened(port) as tunnel, trio.open_nursery() as nursery:
        up = trio.Event()

        async def wait() -> None:
            await tunnel.wait_up(30)
            up.set()

        with pytest.raises(NoAnswerError, match=r"node amsterdam did not answer within 0\.1 s"):
            await tunnel.wait_up(0.1)
        nursery.start_soon(wait)
        async with running_node(site.port, listen=((HOST, port),)):
            await up.wait()


async def test_a_device_that_the_node_does_not_know_is_told_so(context: ssl.SSLContext) -> None:
    async with scene(context) as (node, target):
        async with opened(node.port, ids=(STRANGER, bytes(16))) as tunnel:
            with pytest.raises(LinkRefusedError, match="does not let this device in"):
                await tunnel.wait_up(20)
        async with opened(node.port, ids=(STRANGER,)) as tunnel:
            with pytest.raises(LinkRefusedError):
                await tunnel.wait_up(20)
            with pytest.raises(trio.BrokenResourceError):
                await echoes(tunnel, target)


async def test_a_true_site_in_the_nodes_place_hears_nothing_and_is_held(context: ssl.SSLContext) -> None:
    async with running_site(context) as site:
        async with opened(site.port) as tunnel:
            with pytest.raises(RealCertificateError):
                await tunnel.open_tcp_stream("example.test", 443)
            assert tunnel._strangers.held == 1
        # The block's end is the tab's.
        assert tunnel._strangers.held == 0
    assert b"example.test" not in site.received


async def test_what_is_no_host_is_refused_before_anything_is_dialled() -> None:
    async with opened(1) as tunnel:
        for host, port in (("", 1), ("a b", 1), ("a", 0), ("a", 65536)):
            with pytest.raises(ParameterError):
                await tunnel.open_tcp_stream(host, port)


class TestNextGeneration:
    """The node has taken the next id into use, and this device has not heard of it."""

    async def test_a_stream_is_asked_for_again_by_the_id_that_the_node_knows(
        self, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = (STRANGER, IDS[VISION])
        async with scene(context) as (node, target):
            # In a build that asks once, the stream breaks.
            with monkeypatch.context() as weakened:
                weakened.setattr(retrying.RetryingStream, "_replace", never)
                async with opened(node.port, ids=ids) as tunnel:
                    with pytest.raises(trio.BrokenResourceError):
                        await echoes(tunnel, target)
            async with opened(node.port, ids=ids) as tunnel:
                assert await echoes(tunnel, target, os.urandom(5000))
                before = node.server.counters.devices
                assert await echoes(tunnel, target)
                # It is known from now on: no question, and no second try.
                assert node.server.counters.devices == before + 1

    async def test_many_streams_at_once_ask_once(self, context: ssl.SSLContext) -> None:
        async with scene(context) as (node, target), opened(node.port, ids=(STRANGER, IDS[VISION])) as tunnel:
            found = []

            async def one(number: int) -> None:
                found.append(await echoes(tunnel, target, b"%d" % number))

            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(one, number)
            assert found == [True] * 8
            # Eight in vain, eight in truth, and two questions.
            assert node.server.counters.devices == 18

    async def test_datagrams_are_asked_for_again_too(self, context: ssl.SSLContext) -> None:
        async with scene(context) as (node, _), running_udp_echo() as udp:
            async with opened(node.port, ids=(STRANGER, IDS[VISION])) as tunnel:
                async with await tunnel.open_udp() as datagrams:
                    await datagrams.send_datagram(Datagram(udp, b"one"))
                    assert await datagrams.receive_datagram() == Datagram(udp, b"Eone")

    async def test_a_target_that_says_nothing_gets_nothing_twice(self, context: ssl.SSLContext) -> None:
        heard: list[bytes] = []

        async def mute(stream: trio.SocketStream) -> None:
            async with stream:
                heard.append(bytes(await stream.receive_some()))

        async with running_target(mute) as silent, scene(context) as (node, _):
            async with opened(node.port, ids=(IDS[VISION], STRANGER)) as tunnel:
                for _ in range(2):
                    # Whether the end is one or a break is the node's to say; the data went out once each time.
                    async with await tunnel.open_tcp_stream(HOST, silent.port) as stream:
                        await stream.send_all(b"POST")
                        with contextlib.suppress(trio.BrokenResourceError):
                            assert await stream.receive_some() == b""
        assert heard == [b"POST", b"POST"]

    async def test_more_than_is_kept_is_not_sent_again_and_the_next_stream_goes_through(
        self, context: ssl.SSLContext
    ) -> None:
        data = bytes(retrying.MAX_KEPT + 1)
        async with scene(context) as (node, target), opened(node.port, ids=(STRANGER, IDS[VISION])) as tunnel:
            with pytest.raises(trio.BrokenResourceError):
                await echoes(tunnel, target, data)
            assert await echoes(tunnel, target, data)

    async def test_a_node_that_refuses_all_is_not_asked_at_each_stream(
        self, context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        async with scene(context) as (node, target), opened(node.port, ids=(STRANGER, bytes(16))) as tunnel:
            for _ in range(3):
                with pytest.raises(trio.BrokenResourceError):
                    await echoes(tunnel, target)
            # Three streams and two questions.
            assert node.server.counters.devices == 5
        assert caplog.text.count("does not let this device in") == 1

    async def test_an_id_that_comes_into_use_while_the_tunnel_stands_is_found(self, context: ssl.SSLContext) -> None:
        old, new = bytes(15) + b"\1", bytes(15) + b"\2"
        users = {which: (UserChange(name="d", user_id=which, flow=Flow.VISION),) for which in (old, new)}
        port = free_port(socket.SOCK_STREAM)
        async with running_site(context) as site, running_target() as target:
            async with opened(port, ids=(old, new)) as tunnel:
                for which in (old, new):
                    async with running_node(site.port, users=users[which], listen=((HOST, port),)):
                        assert await echoes(tunnel, target.port)


async def never(*_args: object) -> bool:
    return False


@attrs.frozen
class Member:
    """A device with a node in its profile."""

    profile: Profile
    node: ProfileNode
    secrets: DeviceSecrets

    def user_id(self, generation: int) -> bytes:
        pairing = pairing_of(self.profile, self.node, self.secrets, generation)
        return derive_uuid(pairing, self.secrets.derive).bytes


def way(port: int, **changes: Any) -> RealityAccess:
    proof = prove_reality_key(
        DERIVE, fleet=FLEET, node=NODE, generation=1, public_key=REALITY.public, random=os.urandom(64)
    )
    usual = RealityAccess(
        host=HOST,
        port=port,
        public_key=REALITY.public,
        proof=proof,
        generation=1,
        server_names=(NAME,),
        short_ids=(SHORT_ID.hex(),),
    )
    return attrs.evolve(usual, **changes)


def member(*access: RealityAccess) -> Member:
    node = ProfileNode(
        id=NODE,
        name="amsterdam",
        tags=(),
        derive_key=DERIVE.public,
        generation=1,
        addresses=("10.86.0.1",),
        access=access,
        other_awg_key=AWG.public,
    )
    profile = Profile(fleet=FLEET, device_id=DeviceId("d"), addresses=("10.86.0.2/32",), nodes=(node,), relays=())
    return Member(profile, node, generate_secrets())


@pytest.mark.parametrize("generation", [1, 2])
async def test_a_profile_and_the_devices_keys_are_all_it_takes(context: ssl.SSLContext, generation: int) -> None:
    closed, port = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
    device = member(way(closed), way(port, fingerprint="netscape"))
    user = UserChange(name="d", user_id=device.user_id(generation), flow=Flow.VISION)
    told: dict[str, Any] = {"private_key": REALITY.private_bytes(), "users": (user,), "listen": ((HOST, port),)}
    async with scene(context, **told) as (_, target):
        believed = examine(FLEET, device.node)
        assert believed.refused == ()
        async with open_node_reality(device.profile, believed.node, device.secrets) as tunnel:
            assert await echoes(tunnel, target)


def test_a_node_without_a_way_that_we_speak_is_said_to_have_none(caplog: pytest.LogCaptureFixture) -> None:
    for device in (member(), member(way(1, flow="xtls-of-tomorrow"))):
        with pytest.raises(NoSuchNodeError, match="offers no REALITY"):
            open_node_reality(device.profile, device.node, device.secrets)
    assert "does not know its flow" in caplog.text


async def test_another_program_gets_in_by_an_exported_link(context: ssl.SSLContext) -> None:
    port = free_port(socket.SOCK_STREAM)
    device = member(way(1, flow="xtls-of-tomorrow"), way(port, fingerprint="netscape"))
    user = UserChange(name="d", user_id=device.user_id(1), flow=Flow.VISION)
    told: dict[str, Any] = {"private_key": REALITY.private_bytes(), "users": (user,), "listen": ((HOST, port),)}
    async with scene(context, **told) as (_, target):
        link = link_of_node(device.profile, device.node, device.secrets)
        async with open_link_reality(ShareLink.parse(link.render())) as tunnel:
            assert tunnel.name == "amsterdam"
            assert await echoes(tunnel, target)
    with pytest.raises(NoSuchNodeError):
        link_of_node(device.profile, attrs.evolve(device.node, access=()), device.secrets)


async def test_a_way_that_led_there_is_given_twice_its_time_before_others_are_dialled(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    async def noting(*args: Any, next_after: float, **options: Any) -> Any:
        given.append(next_after)
        return await race_reality(*args, next_after=next_after, **options)

    monkeypatch.setattr(reality, "race_reality", noting)
    async with scene(context) as (node, target), opened(node.port) as tunnel:
        for seconds in (0.0, 1.0, 60.0):
            tunnel._seconds = seconds
            assert await echoes(tunnel, target)
    assert given == [0.25, 2.0, reality.MAX_LEAD]


@pytest.mark.parametrize("fingerprint", ["chrome", "firefox", "ios", "random"])
async def test_a_share_link_is_all_it_takes(context: ssl.SSLContext, fingerprint: str) -> None:
    async with scene(context) as (node, target):
        link = ShareLink(
            user_id=IDS[VISION],
            address=Address(HOST, node.port),
            public_key=node_public_key(),
            server_name=NAME,
            short_id=SHORT_ID.hex(),
            fingerprint=fingerprint,
            spider_path="/somewhere",
        )
        async with open_link_reality(link) as tunnel:
            assert tunnel.name == f"{HOST}:{node.port}"
            assert await echoes(tunnel, target)
