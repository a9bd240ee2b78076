"""What `make fuzz` throws bytes at. A target returns, or raises if a promise is broken."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import attrs

from pharos.wire.awg.conf import InterfaceSection, TunnelConf, render
from pharos.wire.awg.confread import read
from pharos.wire.awg.generate import generate
from pharos.wire.awg.ipackets import TemplateError, parse_ipacket
from pharos.wire.awg.lint import lint
from pharos.wire.awg.params import Generation, ObfuscationParameters
from pharos.wire.awg.uapi import BadRequest, DeviceChange, DeviceState, GetRequest, WatchRequest
from pharos.wire.awg.uapiread import UapiReader
from pharos.wire.awg.uapiwrite import parse_reply, render_change, render_state
from pharos.wire.errors import BundleFormatError, ParameterError, RemoteProtocolError
from pharos.wire.ids import DeviceId, FleetId, NodeId, RelayId
from pharos.wire.profile import (
    AmneziaWgAccess,
    Profile,
    ProfileNode,
    ProfileRelay,
    RealityAccess,
    parse_profile,
    render_profile,
)
from pharos.wire.reality.serverhello import RETRY_RANDOM
from tests.fuzz import machinenames, nodes, proxies, sources, tlsends, tlshellos, tlsrecords, traffic


@attrs.frozen
class Target:
    """A promise about any bytes at all, and bytes to begin with."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    tokens: tuple[bytes, ...] = ()
    """Words of its language, which chance would hardly find."""


def template(data: bytes) -> None:
    """An I packet is refused or says what it is and makes as many bytes as it says."""
    try:
        packet = parse_ipacket(data.decode("latin-1"))
    except TemplateError:
        return
    assert parse_ipacket(str(packet)) == packet
    assert len(packet.build(random.Random(1).randbytes, unix_time=0, counter=0)) == packet.size


def parameters(data: bytes) -> None:
    """A mapping of JSON is refused or survives its way there and back."""
    try:
        mapping = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(mapping, dict):
        return
    try:
        found = ObfuscationParameters.from_mapping(mapping)
    except ParameterError:
        return
    assert ObfuscationParameters.from_mapping(found.as_mapping()) == found


def tunnel_file(data: bytes) -> None:
    """A tunnel's file is refused with its line, or survives its rendering; the linter looks at it all the same."""
    text = data.decode("utf-8", "replace")
    reading = read(text)
    assert (reading.conf is None) == bool(reading.findings)
    assert all(str(finding).isprintable() for finding in lint(text))
    if reading.conf is not None:
        assert read(render(reading.conf)).conf == reading.conf


def uapi_request(data: bytes) -> None:
    """A connection to the engine gives requests or ends; a change survives its rendering."""
    reader = UapiReader()
    try:
        requests = [*reader.receive_data(data[: len(data) // 2]), *reader.receive_data(data[len(data) // 2 :])]
    except RemoteProtocolError:
        return
    for request in requests:
        assert isinstance(request, GetRequest | DeviceChange | WatchRequest | BadRequest)
        if isinstance(request, DeviceChange):
            text = render_change(request, Generation.V3_1, ours=True)
            assert UapiReader().receive_data(text.encode()) == [request]


def uapi_reply(data: bytes) -> None:
    """An engine's reply is refused or survives its rendering."""
    try:
        state, _ = parse_reply(data.decode("latin-1"))
    except RemoteProtocolError:
        return
    assert isinstance(state, DeviceState)


def profile(data: bytes) -> None:
    """A profile is refused as damaged or read."""
    try:
        parse_profile(data)
    except BundleFormatError:
        return


def _files() -> tuple[bytes, ...]:
    made = [generate(random.Random(number).randbytes, generation) for number, generation in enumerate(Generation)]
    texts = [render(TunnelConf(interface=InterfaceSection(private_key=b"k" * 32, parameters=one))) for one in made]
    peer = (
        "\n[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nAllowedIPs = 10.0.0.0/8, ::/0\n"
        "Endpoint = [2001:db8::7]:51820\nPersistentKeepalive = 20-30\n"
    )
    return tuple((text + peer).encode() for text in texts)


def _requests() -> tuple[bytes, ...]:
    made = generate(random.Random(1).randbytes, Generation.V3_1)
    changes: dict[str, Any] = {key: getattr(made, key) for key in made.needs}
    change = DeviceChange(private_key=b"k" * 32, listen_port=7, fwmark=5, replace_peers=True, parameters=changes)
    peer = b"public_key=" + b"11" * 32 + b"\nendpoint=[::1]:7\nallowed_ip=10.0.0.0/8\nsend_rate=9\n\n"
    text = render_change(change, Generation.V3_1).encode()
    return text, text[:-1] + peer, b"get=1\n\n", b"set=1\nface=1\nface_jc=4\nface_listen_port=9\n\n"


def _profile() -> bytes:
    way = AmneziaWgAccess(
        host="198.51.100.7",
        port=443,
        public_key=b"p" * 32,
        parameters=generate(random.Random(1).randbytes, Generation.V3_1),
    )
    reality = RealityAccess(
        host="198.51.100.7",
        port=443,
        public_key=b"r" * 32,
        proof=b"w" * 64,
        generation=2,
        server_names=("site.example",),
        short_ids=("", "0123456789abcdef"),
    )
    node = ProfileNode(
        id=NodeId("n"),
        name="amsterdam",
        tags=("eu",),
        derive_key=b"d" * 32,
        generation=1,
        addresses=("10.86.0.1",),
        access=(way, reality),
    )
    return render_profile(
        Profile(
            fleet=FleetId("0123456789abcdef"),
            device_id=DeviceId("d"),
            addresses=("10.86.0.2/32",),
            nodes=(node,),
            relays=(ProfileRelay(id=RelayId("r"), host="198.51.100.8", port=443),),
        )
    )


TARGETS = {
    "name_question": Target(machinenames.question, (machinenames.QUESTION,), (b"\xc0\x0c", b"\0\1\0\1")),
    "name_answer": Target(machinenames.answer, (machinenames.ANSWER.to_wire(),), (b"\xc0\x0c", b"\0\x41\0\1", b"\0\4")),
    "resolv_conf": Target(machinenames.resolv_conf, (machinenames.RESOLV_CONF,), (b"nameserver ", b"options ", b"%")),
    "template": Target(
        template, (b"<b 0xc0ff><r 16><t>", b"<rc 5><rd 7><c>"), (b"<b 0x", b"<r ", b"<rc ", b"<rd ", b">")
    ),
    "parameters": Target(
        parameters,
        tuple(
            json.dumps(generate(random.Random(number).randbytes, generation).as_mapping()).encode()
            for number, generation in enumerate(Generation)
        ),
        (b'"h1"', b'"i1": "<t>"', b"null", b"true", b"1e9", b"4294967296"),
    ),
    "tunnel_file": Target(tunnel_file, _files(), (b"\n[Interface]\n", b"\n[Peer]\n", b" = ", b"PostUp", b"#", b"off")),
    "uapi_request": Target(
        uapi_request, _requests(), (b"set=1\n", b"get=1\n", b"\n\n", b"public_key=", b"face=", b"h1=")
    ),
    "uapi_reply": Target(uapi_reply, (render_state(DeviceState(listen_port=7)).encode(),), (b"errno=", b"public_key=")),
    "profile": Target(profile, (_profile(),), (b'"nodes"', b"null", b"[]", b"{}", b'"type"', b"1e9")),
    "stranger": Target(
        traffic.stranger,
        tuple(bytes((scene, choice)) + bytes(160) for scene in range(6) for choice in (0, 64, 130, 200)),
    ),
    "joined": Target(traffic.joined, traffic.streams()),
    "inner_packet": Target(
        traffic.inner_packet,
        tuple(
            bytes((number, 0x45, 0, 0, 60)) + bytes(8) + bytes((10, 7, 0, 1, 10, 7, 0, 2)) + bytes(40)
            for number in range(6)
        ),
    ),
    "vless_request": Target(proxies.vless_request, proxies.requests(), (b"xtls-rprx-vision", b"\x0a\x10")),
    "vless_session": Target(
        proxies.vless_session,
        tuple(
            bytes((kind,)) + octets
            for kind in range(8)
            for octets in (*proxies.requests()[:1], proxies.USER_ID + b"\0\0\1\0\1xp", b"\0\0")
        ),
        (proxies.USER_ID, b"\2\0\0\0\0", b"\x17\3\3"),
    ),
    "vision_round_trip": Target(
        proxies.vision_round_trip, proxies.hellos(), (b"\x17\3\3", b"\x16\3\3", b"\0\x2b\0\2\3\4", b"\x13\1")
    ),
    "xudp": Target(proxies.xudp, proxies.frames(), (b"\0\4\0\0\4\0", b"\0\x0c\0\0\2\1\2")),
    "socks": Target(
        proxies.socks,
        (
            b"\5\1\0\5\1\0\3\6a.test\1\xbb",
            b"\5\2\0\2\1\3ada\6secret\5\3\0\1" + bytes(6),
            bytes(3) + b"\1\1\2\3\4\0\5xx",
        ),
        (b"\5\1\0", b"\1\3ada\6secret"),
    ),
    "http_connect": Target(
        proxies.http_connect,
        (b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: Basic YWRhOnNlY3JldA==\r\n\r\n",),
        (b"CONNECT ", b"HTTP/1.1", b"\r\n", b"\r\n\r\n", b"[::1]:1", b"Host: x", b"Content-Length: 1"),
    ),
    "share_link": Target(
        proxies.share_link, proxies.links(), (b"&pbk=", b"&sid=", b"&type=tcp", b"%20", b"#", b"[::1]:", b"&x=")
    ),
    "client_hello": Target(
        tlshellos.client_hello, tlshellos.hellos(), (b"\0\x2b\0\3\2\3\4", b"\0\x33\0\x26\0\x24\0\x1d\0\x20")
    ),
    "server_hello": Target(
        tlshellos.server_hello, tlshellos.server_hellos(), (b"\0\x2b\0\2\3\4", b"\0\x33\0\2\0\x17", RETRY_RANDOM)
    ),
    "offer": Target(
        tlshellos.offer,
        tuple(bytes((look, 0, group)) + b"cookie" for look in (0, 1, 2, 128) for group in (0, 0x17, 0x19)),
    ),
    "records": Target(
        tlsrecords.records, tlsrecords.record_streams(), (b"\x14\3\3\0\1\1", b"\x17\3\3\0\x11", b"\x15\3\3\0\2")
    ),
    "sealed_records": Target(
        tlsrecords.sealed_records,
        tuple(tlsrecords.part(kind, b"content" * size) * 3 for kind in range(4) for size in (1, 40)),
    ),
    "handshake_messages": Target(
        tlsrecords.handshake_messages,
        tlsrecords.messages(),
        (b"\x08\0\0\2\0\0", b"\x0b\0\0\4\0\0\0\0", b"\x18\0\0\1\0", b"\x08\7\0\0"),
    ),
    "certificate": Target(
        tlsrecords.certificate, tlsrecords.certificates(), (b"\x30\0", b"\x30\x80", b"\x30\x82\1\0", b"\xa0\3\2\1\2")
    ),
    "flight": Target(
        tlshellos.flight,
        tuple(bytes((step,)) + answer for step in (0, 20, 255) for answer in tlshellos.answers()),
        (b"\x17\3\3\0\x64", b"\x17\3\3\x0b\xb8", b"\x14\3\3\0\1\1"),
    ),
    "target_answer": Target(
        tlshellos.target_answer, tlshellos.answers(), (b"\x17\3\3\0\x64", b"\x15\3\3\0\2\2\x28", b"\x16\3\3")
    ),
    "device": Target(
        tlsends.device,
        tlsends.to_devices(),
        (tlsrecords.part(2, b"\x19\0\0\0"), tlsrecords.part(1, b"\1\0"), RETRY_RANDOM),
    ),
    "node": Target(
        tlsends.node,
        tlsends.to_nodes(),
        (tlsrecords.part(2, b"\x18\0\0\1\1"), tlsrecords.part(1, b"\1\0"), tlsrecords.part(0, b"\1")),
    ),
    "reality_parameters": Target(
        nodes.reality_parameters,
        nodes.mappings(),
        (b'"target"', b"[]", b"null", b"true", b"4294967296", b'"[::1]:443"'),
    ),
    "control": Target(
        nodes.control,
        nodes.requests(),
        (b"set=1\n", b"get=1\n", b"\n\n", b"user=", b"id=", b"true", b"[::1]:443", b"::/0"),
    ),
    "source": Target(
        sources.source,
        sources.sources(),
        (
            b"[Interface]\n",
            b"[Peer]\n",
            b"PostUp = x\n",
            b"vless://",
            b"pharosvpn://",
            b"://",
            b"PK\3\4",
            b"\xef\xbb\xbf",
        ),
    ),
    "deep_link": Target(
        sources.deep_link,
        sources.links(),
        (b"pharosvpn://enroll?", b"pharosvpn://fleet?", b"vless://", b"&b=", b"\n", b"../"),
    ),
    "image": Target(
        sources.image,
        sources.images(),
        (
            b"IHDR",
            b"IDAT",
            b"acTL",
            b"zTXt",
            b"PLTE",
            b"VP8X",
            b"VP8L",
            b"ANIM",
            b"\xff\xc0\0\x11",
            b"\xff\xda",
            b"\xff\xff\xff\xff",
        ),
    ),
    "pharos_file": Target(sources.pharos_file, sources.files(), sources.words()),
    "managed_file": Target(
        sources.managed_file,
        (sources.MANAGED,),
        (b"[split]\n", b"[enrolment]\n", b"fleet_link = ", b"true", b"[]", b'"wait"', b"1e9", b"\n"),
    ),
}
