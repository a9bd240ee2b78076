"""Our requests and files are those of WireGuard: its engine and its tool take them, and give them back."""

from __future__ import annotations

import errno
from ipaddress import ip_network
from pathlib import Path

import pytest
import trio

from pharos.wire.awg.conf import InterfaceSection, PeerSection, TunnelConf, render
from pharos.wire.awg.confread import parse
from pharos.wire.awg.params import Generation
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.uapi import OFF, DeviceChange, PeerChange, PeerState
from pharos.wire.awg.uapiwrite import parse_reply, render_change
from tests.system.lab.network import open_lab
from tests.system.tunnels import GO, OURS, PORT, End, skip_without_tools, start_engine

pytestmark = pytest.mark.system

NETWORKS = (ip_network("10.9.0.0/16"), ip_network("fd09::/48"))
FIRST, SECOND = bytes(range(32)), bytes(range(32, 64))


async def change(end: End, wanted: DeviceChange) -> int:
    """Have an engine changed, and return the errno."""
    request = render_change(wanted, Generation.WIREGUARD)
    return parse_reply(await end.uapi(*request.removesuffix("\n\n").split("\n")))[1]


@pytest.mark.parametrize("kind", [GO, OURS])
async def test_an_engine_becomes_what_our_request_says(tmp_path: Path, kind: str) -> None:
    skip_without_tools()
    with trio.fail_after(180):
        async with open_lab(tmp_path) as lab:
            end = await start_engine(lab, "clienta", kind)
            first = PeerChange(
                public_key=FIRST,
                preshared_key=SECOND,
                endpoint=("2001:db8::7", 700),
                persistent_keepalive=Range(25, 25),
                allowed_ips=NETWORKS,
            )
            second = PeerChange(public_key=SECOND, endpoint=("198.51.100.7", 7))
            assert await change(end, DeviceChange(fwmark=7, replace_peers=True, peers=(first, second))) == 0
            state = await end.state()
            assert (state.private_key, state.fwmark) == (end.private_key, 7)
            peers = {peer.public_key: peer for peer in state.peers}
            assert sorted(peers[FIRST].allowed_ips, key=str) == sorted(NETWORKS, key=str)
            assert peers[FIRST] == PeerState(
                public_key=FIRST,
                preshared_key=SECOND,
                endpoint=("2001:db8::7", 700),
                persistent_keepalive=Range(25, 25),
                allowed_ips=peers[FIRST].allowed_ips,
                sent_bytes=peers[FIRST].sent_bytes,
            )
            assert peers[SECOND].endpoint == ("198.51.100.7", 7)
            fewer = PeerChange(
                public_key=FIRST, persistent_keepalive=OFF, replace_allowed_ips=True, allowed_ips=NETWORKS[:1]
            )
            gone = PeerChange(public_key=SECOND, remove=True)
            unknown = PeerChange(public_key=bytes(31) + b"\x09", update_only=True, allowed_ips=NETWORKS)
            assert await change(end, DeviceChange(peers=(fewer, gone, unknown))) == 0
            (peer,) = (await end.state()).peers
            assert (peer.allowed_ips, peer.persistent_keepalive) == (NETWORKS[:1], None)


@pytest.mark.parametrize("kind", [GO, OURS])
async def test_an_engine_names_the_errno_of_what_it_refuses(tmp_path: Path, kind: str) -> None:
    skip_without_tools()
    with trio.fail_after(180):
        async with open_lab(tmp_path) as lab:
            end = await start_engine(lab, "clienta", kind)
            for lines, number in (
                (["listen_port=65536"], errno.EINVAL),
                (["fwmark"], errno.EPROTO),
                (["no_such_key=1"], errno.EINVAL),
                ([f"public_key={FIRST.hex()}", "listen_port=7"], errno.EINVAL),
                ([f"public_key={FIRST.hex()}", "allowed_ip=10.0.0.0/33"], errno.EINVAL),
            ):
                assert parse_reply(await end.uapi("set=1", *lines))[1] == number
            assert (await end.state()).listen_port == PORT


@pytest.mark.parametrize("kind", [GO, OURS])
async def test_wg_takes_our_file_and_shows_it_again(tmp_path: Path, kind: str) -> None:
    skip_without_tools()
    with trio.fail_after(180):
        async with open_lab(tmp_path) as lab:
            end = await start_engine(lab, "clienta", kind)
            first = PeerSection(
                public_key=FIRST,
                preshared_key=SECOND,
                allowed_ips=NETWORKS,
                endpoint=("2001:db8::7", 700),
                persistent_keepalive=Range(25, 25),
            )
            interface = InterfaceSection(private_key=end.private_key, listen_port=700, fwmark=0xCA6C)
            wanted = TunnelConf(interface=interface, peers=(first, PeerSection(public_key=SECOND)))
            await end.wg("setconf", end.interface, "/dev/stdin", stdin=render(wanted))
            shown = parse(await end.wg("showconf", end.interface))
            assert shown.interface == interface
            assert {peer.public_key: set(peer.allowed_ips) for peer in shown.peers} == {
                FIRST: set(NETWORKS),
                SECOND: set(),
            }
            assert {peer.preshared_key for peer in shown.peers} == {SECOND, bytes(32)}
