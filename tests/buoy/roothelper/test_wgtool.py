"""What the tools are told is the act and nothing else, and no secret comes back from them."""

from __future__ import annotations

import base64
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.roothelper.acts import AwgDump, Interface, PeerDump, SocketAddress, SyncAwg, SyncPeer
from pharos.buoy.roothelper.wgtool import AWG, WG, parse_dump, render_sync
from pharos.wire.awg.confread import parse as parse_conf
from tests.buoy.roothelper.values import KEYS, OBFUSCATED, PEERS, PORTS

KEY, OTHER, SECRET = (bytes([number]) * 32 for number in (1, 2, 3))


def b64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def sync(**changes: object) -> SyncAwg:
    return SyncAwg(**{"interface": Interface.AWG0, "private_key": KEY, "port": 443} | changes)  # type: ignore[arg-type]


@given(KEYS, PORTS, st.lists(PEERS, max_size=3, unique_by=lambda peer: peer.public_key).map(tuple))
def test_what_is_rendered_reads_back_as_what_was_asked(key: bytes, port: int, peers: tuple[SyncPeer, ...]) -> None:
    act = sync(private_key=key, port=port, parameters=OBFUSCATED, peers=peers)
    conf = parse_conf(render_sync(act, AWG).decode())
    assert (conf.interface.private_key, conf.interface.listen_port, conf.interface.parameters) == (
        key,
        port,
        OBFUSCATED,
    )
    assert [(peer.public_key, peer.preshared_key, peer.allowed_ips) for peer in conf.peers] == [
        (peer.public_key, peer.preshared_key, peer.networks) for peer in peers
    ]


def test_parameters_that_were_set_before_do_not_stay() -> None:
    lines = render_sync(sync(), AWG).decode().splitlines()
    assert {"Jc = 0", "Jmin = 0", "Jmax = 0", "S1 = 0", "S2 = 0", "H1 = 1", "H2 = 2", "H3 = 3", "H4 = 4"} <= set(lines)
    # What older tools do not know is not named where it is not used.
    assert not {line for line in lines if line.startswith(("S3", "S4", "I1", "HeaderProtectionKey"))}


def test_plain_wireguard_is_told_nothing_of_obfuscation() -> None:
    peer = SyncPeer(public_key=OTHER, preshared_key=SECRET, networks=(ip_network("10.7.0.2"), ip_network("fd07::2")))
    assert render_sync(sync(peers=(peer,)), WG).decode().splitlines() == [
        "[Interface]",
        f"PrivateKey = {b64(KEY)}",
        "ListenPort = 443",
        "",
        "[Peer]",
        f"PublicKey = {b64(OTHER)}",
        f"PresharedKey = {b64(SECRET)}",
        "AllowedIPs = 10.7.0.2/32, fd07::2/128",
    ]
    with pytest.raises(ValueError, match="obfuscation takes the tool awg"):
        render_sync(sync(parameters=OBFUSCATED), WG)


def dump(*peers: str, head: str = f"{b64(SECRET)}\t{b64(KEY)}\t443\toff") -> str:
    return "\n".join([head, *peers]) + "\n"


def line(*, endpoint: str = "(none)", handshake: str = "0", received: str = "0", more: str = "\toff") -> str:
    return f"{b64(OTHER)}\t{b64(SECRET)}\t{endpoint}\t10.7.0.2/32\t{handshake}\t{received}\t7{more}"


def peer(**changes: object) -> PeerDump:
    values = {"public_key": OTHER, "last_handshake": 0, "received": 0, "sent": 7} | changes
    return PeerDump(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (line(), peer()),
        (line(more=""), peer()),
        (line(more="\toff\ton"), peer()),
        (
            line(endpoint="198.51.100.7:50000", handshake="1790000000", received="18446744073709551615"),
            peer(
                endpoint=SocketAddress(ip_address("198.51.100.7"), 50000),
                last_handshake=1790000000,
                received=2**64 - 1,
            ),
        ),
        (
            line(endpoint="[fe80::7%eth0]:50000"),
            peer(endpoint=SocketAddress(ip_address("fe80::7"), 50000)),
        ),
    ],
)
def test_dump_is_read_without_its_secrets(text: str, seen: PeerDump) -> None:
    found = parse_dump(dump(text))
    assert found == AwgDump(port=443, peers=(seen,))
    assert SECRET not in [value for peer in found.peers for value in (peer.public_key,)]


def test_dump_of_awg_has_its_parameters_between() -> None:
    head = f"{b64(SECRET)}\t{b64(KEY)}\t51820\t4\t40\t70\t30\t60\t11\t12\t13\t14\toff"
    assert parse_dump(dump(head=head)) == AwgDump(port=51820)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x\n",
        dump(head=f"{b64(SECRET)}\t{b64(KEY)}\t65536\toff"),
        dump("x"),
        dump(line(handshake="-1")),
        dump(line(handshake="1_0")),
        dump(line(received="18446744073709551616")),
        dump(line(endpoint="host.example:1")),
        dump(line().replace(b64(OTHER), b64(OTHER)[1:])),
    ],
)
def test_dump_that_does_not_read_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_dump(text)
    assert b64(SECRET) not in str(refused.value)
