from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.icmp import checksum
from pharos.wire.awg.netstack.ip import (
    DESTINATION_OPTIONS,
    FRAGMENT,
    HOP_BY_HOP,
    ROUTING,
    UDP,
    Fragment,
    build_fragments,
    build_ip,
    ipv4_header,
    parse_ip,
)

A4, B4 = ip_address("10.7.0.2").packed, ip_address("10.7.0.1").packed
A6, B6 = ip_address("fd07::2").packed, ip_address("fd07::1").packed


def with_options(packet: bytes, options: bytes) -> bytes:
    """Put options into an IPv4 header."""
    words = 5 + len(options) // 4
    head = bytes((0x40 | words,)) + packet[1:2] + struct.pack(">H", len(packet) + len(options)) + packet[4:10]
    head += b"\0\0" + packet[12:20] + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + packet[20:]


def with_extensions(packet: bytes, *extensions: tuple[int, bytes]) -> bytes:
    """Put headers, each without its first two bytes, between an IPv6 header and its payload."""
    kinds = [kind for kind, _ in extensions] + [packet[6]]
    body = b"".join(
        bytes((following, (len(rest) + 2) // 8 - 1)) + rest
        for following, (_, rest) in zip(kinds[1:], extensions, strict=True)
    )
    return (
        packet[:4]
        + struct.pack(">H", len(packet) - 40 + len(body))
        + bytes((kinds[0],))
        + packet[7:40]
        + body
        + packet[40:]
    )


def test_a_packet_comes_apart_as_it_was_made():
    for source, destination in ((A4, B4), (A6, B6)):
        packet = parse_ip(build_ip(source, destination, UDP, b"payload") + b"padding")
        assert (packet.source, packet.destination, packet.protocol) == (source, destination, UDP)
        assert packet.payload == b"payload"
        assert packet.fragment is None
        assert packet.hop_limit == 64


def test_options_of_ipv4_are_skipped():
    packet = parse_ip(with_options(build_ip(A4, B4, UDP, b"payload"), bytes((7, 7, 4, 0, 0, 0, 0, 0))))
    assert packet.payload == b"payload"


def test_extension_headers_of_ipv6_are_skipped():
    plain = build_ip(A6, B6, UDP, b"payload")
    packet = parse_ip(
        with_extensions(
            plain, (HOP_BY_HOP, bytes(6)), (DESTINATION_OPTIONS, bytes(14)), (ROUTING, bytes(6)), (FRAGMENT, bytes(6))
        )
    )
    assert (packet.protocol, packet.payload, packet.fragment) == (UDP, b"payload", None)


def test_a_packet_that_others_are_still_to_forward_is_dropped():
    segments_left = bytes((0, 1, 0, 0, 0, 0))
    assert parse_ip(with_extensions(build_ip(A6, B6, UDP, b"payload"), (ROUTING, segments_left))) is None


def test_a_chain_of_headers_without_end_is_dropped():
    chain = [(DESTINATION_OPTIONS, bytes(6))] * 20
    assert parse_ip(with_extensions(build_ip(A6, B6, UDP, b"payload"), *chain)) is None


def test_a_damaged_ipv4_header_is_dropped():
    packet = bytearray(build_ip(A4, B4, UDP, b"payload"))
    packet[8] ^= 1
    assert parse_ip(bytes(packet)) is None


def test_a_length_that_lies_is_dropped():
    for source, destination in ((A4, B4), (A6, B6)):
        assert parse_ip(build_ip(source, destination, UDP, b"payload")[:-1]) is None


def test_what_the_path_takes_is_not_cut():
    for source, destination, header in ((A4, B4, 20), (A6, B6, 40)):
        payload = bytes(1280 - header)
        assert build_fragments(source, destination, UDP, payload, mtu=1280, identification=1) == [
            build_ip(source, destination, UDP, payload)
        ]


@given(size=st.integers(1300, 9000), mtu=st.integers(576, 1280), six=st.booleans())
def test_fragments_fit_and_cover_the_payload(size: int, mtu: int, six: bool):
    source, destination = (A6, B6) if six else (A4, B4)
    payload = bytes(number % 251 for number in range(size))
    packets = build_fragments(source, destination, UDP, payload, mtu=mtu, identification=0xABCD1234)
    assert max(map(len, packets)) <= mtu
    parts = [parse_ip(packet) for packet in packets]
    assert {part.protocol for part in parts} == {UDP}
    assert {part.fragment.identification for part in parts} == {0xABCD1234 if six else 0x1234}
    assert b"".join(part.payload for part in parts) == payload
    assert [part.fragment.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert [part.fragment.offset for part in parts] == [len(parts[0].payload) * number for number in range(len(parts))]


def test_the_header_of_a_fragment_of_ipv4_says_so():
    header = ipv4_header(A4, B4, UDP, 8, identification=7, fragment=0x2001)
    assert parse_ip(header + bytes(8)).fragment == Fragment(7, 8, more=True)


@given(st.binary(max_size=128))
def test_hostile_bytes_raise_nothing(data: bytes):
    parse_ip(data)


@given(st.sampled_from((4, 6)), st.binary(max_size=96), st.sampled_from((0, 6, 17, 43, 44, 60)))
def test_hostile_packets_raise_nothing(version: int, rest: bytes, protocol: int):
    source, destination = (A4, B4) if version == 4 else (A6, B6)
    packet = parse_ip(build_ip(source, destination, protocol, rest))
    assert packet is None or packet.start <= len(packet.data)
