"""The root helper's acts on a real kernel: connections end, links are as they should, the tool's tunnel is as asked."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
import trio

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.netpolicy import NetworkKeeper
from pharos.buoy.roothelper.acts import (
    AwgDump,
    Done,
    DumpAwg,
    Interface,
    Killed,
    KillSockets,
    LinkKind,
    RemoveLink,
    SetLink,
    SocketAddress,
    SocketPair,
    SyncAwg,
    SyncPeer,
)
from pharos.buoy.roothelper.client import SocketRootHelper
from pharos.buoy.roothelper.errors import ActRefusedError
from pharos.buoy.roothelper.perform import Performer
from pharos.buoy.roothelper.sockdiag import SocketSeen
from pharos.buoy.roothelper.wire import FrameReader, Outcome, decode_reply
from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.pki.canonical import encode_canonical
from tests.buoy.roothelper.values import OBFUSCATED
from tests.system.lab.network import Lab, open_lab
from tests.system.roothelperhost import ANY_WORD
from tests.system.tunnels import POLL_INTERVAL, SOCKETS, START_TIMEOUT, encode, skip_without_tools

pytestmark = pytest.mark.system

NODE, CLIENT, OTHER_CLIENT = "buoya", "clienta", "clientb"
PORT = 443
KILL_TIMEOUT = 0.3 * 3
"""Seconds that a device whose access ends keeps its connections at most, and three times that for a busy machine."""


@asynccontextmanager
async def helped(folder: Path, *options: str) -> AsyncIterator[tuple[Lab, SocketRootHelper]]:
    """Run a helper at the node of a lab; connections of the test's own user may be ended."""
    async with open_lab(folder) as lab:
        words = [sys.executable, "-m", "tests.system.roothelperhost", str(folder), str(os.getuid()), *options]
        await lab.start(NODE, *words, name="helper", ready=True)
        yield lab, SocketRootHelper(folder / "helper.sock")


def end(name: tuple[str, int]) -> SocketAddress:
    return SocketAddress(ip_address(name[0]), name[1])


def pair_of(stream: trio.SocketStream) -> SocketPair:
    """The connection as the end that accepted it sees it."""
    return SocketPair(end(stream.socket.getsockname()[:2]), end(stream.socket.getpeername()[:2]))


async def hears_reset(stream: trio.SocketStream) -> bool:
    try:
        await stream.receive_some()
    except trio.BrokenResourceError:
        return True
    return False


@pytest.mark.parametrize("family", [4, 6])
async def test_device_that_is_cut_loses_its_connections_at_once_and_others_do_not(tmp_path: Path, family: int) -> None:
    async with helped(tmp_path) as (lab, helper):
        node = lab.host(NODE)
        address = node.address4 if family == 4 else node.address6
        listener = await lab.namespace(NODE).listen(address, PORT)
        async with listener:
            clients, servers = [], []
            for host in (CLIENT, CLIENT, OTHER_CLIENT):
                clients.append(await lab.namespace(host).connect(address, PORT))
                servers.append(await listener.accept())
            for client, server in zip(clients, servers, strict=True):
                await client.send_all(b"x")
                assert await server.receive_some() == b"x"

            act = KillSockets((pair_of(servers[0]), pair_of(servers[1])))
            with trio.fail_after(KILL_TIMEOUT):
                assert await helper.perform(act) == Killed(2)
                for stream in (*clients[:2], *servers[:2]):
                    assert await hears_reset(stream)
            await clients[2].send_all(b"y")
            assert await servers[2].receive_some() == b"y"
            # They are gone, and asked for again that is no error, nor does the listener suffer.
            assert await helper.perform(act) == Killed(0)
            async with await lab.namespace(CLIENT).connect(address, PORT):
                pass
            for stream in (*clients, *servers):
                await trio.aclose_forcefully(stream)


def performer(folder: Path, *owners: int) -> Performer:
    return Performer(NetworkKeeper(folder / "state"), owners=lambda: set(owners))


async def test_connection_of_another_user_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client, listener.accept()[0] as server:
            act = KillSockets((SocketPair(end(server.getsockname()), end(server.getpeername())),))
            with pytest.raises(ActRefusedError, match="serves no REALITY"):
                await performer(tmp_path, os.getuid() + 1).perform(act)
            client.sendall(b"x")
            assert server.recv(1) == b"x"
            # Weakened: every connection of this machine may be ended, an administrator's too.
            assert await performer(tmp_path, os.getuid()).perform(act) == Killed(1)
            with pytest.raises(ConnectionResetError):
                client.recv(1)


async def test_connection_over_ipv4_to_a_listener_of_both_families_ends_by_either_name(tmp_path: Path) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        for plain in (False, True):
            with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as client, listener.accept()[0]:
                near, far = client.getpeername(), client.getsockname()
                if not plain:
                    near, far = (f"::ffff:{near[0]}", near[1]), (f"::ffff:{far[0]}", far[1])
                act = KillSockets((SocketPair(end(near), end(far)),))
                assert await performer(tmp_path, os.getuid()).perform(act) == Killed(1)
                with pytest.raises(ConnectionResetError):
                    client.recv(1)


async def test_connection_that_is_not_there_costs_no_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hands = performer(tmp_path, os.getuid())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(1)
        act = KillSockets((SocketPair(end(listener.getsockname()), end(("127.0.0.1", 1))),))
        assert await hands.perform(act) == Killed(0)
        with socket.create_connection(listener.getsockname()), listener.accept()[0]:
            pass
        # Weakened: whatever socket the kernel names is taken for the connection; it names the listener.
        monkeypatch.setattr(SocketSeen, "is_connection", lambda _self, _pair: True)
        assert await hands.perform(act) == Killed(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.getsockname())


async def test_link_has_the_addresses_and_routes_that_were_asked_for_and_no_others(tmp_path: Path) -> None:
    link = SetLink(
        interface=Interface.AWG0,
        addresses=(ip_interface("10.7.0.1"), ip_interface("fd07::1")),
        networks=(ip_network("10.7.0.0/16"), ip_network("192.168.7.0/24"), ip_network("fd07::/64")),
        mtu=1380,
    )
    async with helped(tmp_path) as (lab, helper):
        with pytest.raises(EngineError, match="there is no interface awg0: its engine does not run"):
            await helper.perform(link)
        await lab.run(NODE, "ip", "tuntap", "add", "dev", "awg0", "mode", "tun")
        for _ in range(2):
            assert await helper.perform(link) == Done()
            (shown,) = json.loads(await lab.run(NODE, "ip", "-json", "address", "show", "dev", "awg0"))
            assert ("UP" in shown["flags"], shown["mtu"]) == (True, 1380)
            assert {one["local"] for one in shown["addr_info"] if one["scope"] != "link"} == {"10.7.0.1", "fd07::1"}
            for address in ("10.7.200.1", "192.168.7.9", "fd07::9"):
                assert "dev awg0" in await lab.run(NODE, "ip", "route", "get", address)

        narrower = SetLink(
            interface=Interface.AWG0,
            addresses=(ip_interface("10.7.0.1"), ip_interface("10.8.0.1")),
            networks=(ip_network("10.8.0.0/24"),),
            mtu=1420,
        )
        assert await helper.perform(narrower) == Done()
        assert "dev awg0" in await lab.run(NODE, "ip", "route", "get", "10.8.0.9")
        for address in ("10.7.200.1", "192.168.7.9", "fd07::9"):
            assert "awg0" not in await lab.run(NODE, "ip", "route", "get", address, check=False)

        with pytest.raises(EngineError, match="awg0 is there and is no amneziawg interface"):
            await helper.perform(SetLink(interface=Interface.AWG0, mtu=1420, create=LinkKind.AMNEZIAWG))
        for _ in range(2):
            assert await helper.perform(RemoveLink(Interface.AWG0)) == Done()
        assert "awg0" not in await lab.run(NODE, "ip", "link")


async def test_machines_own_route_to_the_same_network_goes_first(tmp_path: Path) -> None:
    async with helped(tmp_path) as (lab, helper):
        # A provider's private network, which the fleet's pool happens to be as well.
        await lab.run(NODE, "ip", "link", "add", "private0", "type", "veth", "peer", "name", "private1")
        await lab.run(NODE, "ip", "link", "set", "private1", "up")
        await lab.run(NODE, "ip", "address", "add", "10.7.0.1/16", "dev", "private0")
        await lab.run(NODE, "ip", "link", "set", "private0", "up")
        await lab.run(NODE, "ip", "tuntap", "add", "dev", "awg0", "mode", "tun")
        link = SetLink(interface=Interface.AWG0, networks=(ip_network("10.7.0.0/16"),), mtu=1420)
        assert await helper.perform(link) == Done()
        assert "dev private0" in await lab.run(NODE, "ip", "route", "get", "10.7.5.5")


async def remove_link(folder: Path, interface: str) -> Outcome:
    """Ask for an interface to be removed that no typed act can name."""
    data = encode_canonical({"kind": "RemoveLink", "interface": interface})
    async with await trio.open_unix_socket(str(folder / "helper.sock")) as stream:
        await stream.send_all(len(data).to_bytes(4, "big") + data)
        (body,) = FrameReader().receive_data(bytes(await stream.receive_some()))
    return decode_reply(body, RemoveLink(Interface.AWG0)).outcome


@pytest.mark.parametrize("weakened", [True, False])
async def test_interfaces_of_the_machine_itself_cannot_be_named(tmp_path: Path, weakened: bool) -> None:
    async with helped(tmp_path, *([ANY_WORD] if weakened else [])) as (lab, _):
        await lab.run(NODE, "ip", "link", "add", "uplink0", "type", "veth", "peer", "name", "uplink1")
        outcome = await remove_link(tmp_path, "uplink0")
        assert outcome is (Outcome.OK if weakened else Outcome.REFUSED)
        assert ("uplink0" not in await lab.run(NODE, "ip", "link")) is weakened
        # No shell reads what is asked, whatever else should fail.
        canary = tmp_path / "canary"
        for text in (f"awg0; touch {canary}", f"$(touch {canary})", f"awg0\ntouch {canary}"):
            assert await remove_link(tmp_path, text) is (Outcome.OK if weakened else Outcome.REFUSED)
            assert not canary.exists()


async def test_tunnel_is_told_by_the_tool_and_tells_of_its_peers(tmp_path: Path) -> None:
    skip_without_tools()
    key, first, second = (generate_private_key(os.urandom) for _ in range(3))
    psk = os.urandom(32)
    peers = (
        SyncPeer(
            public_key=public_key(first),
            preshared_key=psk,
            networks=(ip_network("10.7.0.2"), ip_network("fd07::2")),
        ),
        SyncPeer(public_key=public_key(second)),
    )
    interface = Interface.AWG9
    path = SOCKETS / f"{interface.value}.sock"
    async with helped(tmp_path) as (lab, helper):
        with pytest.raises(EngineError, match="there is no interface awg9"):
            await helper.perform(DumpAwg(interface))
        path.unlink(missing_ok=True)
        engine = await lab.start(NODE, "wireguard-go", "--foreground", interface.value, name="engine")
        with trio.fail_after(START_TIMEOUT):
            while not path.exists():
                engine.check()
                await trio.sleep(POLL_INTERVAL)
        dump = await helper.perform(DumpAwg(interface))
        assert isinstance(dump, AwgDump)
        assert dump.peers == ()
        act = SyncAwg(interface=interface, private_key=key, port=PORT, peers=peers)
        assert await helper.perform(act) == Done()
        dump = await helper.perform(DumpAwg(interface))
        assert isinstance(dump, AwgDump)
        assert dump.port == PORT
        assert {peer.public_key for peer in dump.peers} == {public_key(first), public_key(second)}
        assert {(peer.last_handshake, peer.received, peer.endpoint) for peer in dump.peers} == {(0, 0, None)}
        shown = await lab.run(NODE, "wg", "show", interface.value, "dump")
        assert f"{encode(public_key(first))}\t{encode(psk)}\t(none)\t10.7.0.2/32,fd07::2/128" in shown

        assert await helper.perform(SyncAwg(interface=interface, private_key=key, port=PORT, peers=peers[1:])) == Done()
        assert encode(public_key(first)) not in await lab.run(NODE, "wg", "show", interface.value, "peers")
        # What another engine does not know is an error, and nothing of the keys is in its text.
        with pytest.raises(EngineError, match="obfuscation takes the tool awg") as refused:
            await helper.perform(
                SyncAwg(interface=interface, private_key=key, port=PORT, parameters=OBFUSCATED, peers=peers)
            )
        assert encode(key) not in str(refused.value)
        log = (lab.folder / "helper.log").read_text()
        assert not [secret for secret in (key, psk) if encode(secret) in log]
        await engine.stop()
