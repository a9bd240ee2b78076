from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.icmp import checksum
from pharos.wire.awg.netstack.ip import UDP, build_ip, parse_ip
from pharos.wire.awg.netstack.udp import UdpDatagram, build_udp, parse_udp

FLOWS = {
    4: (ip_address("10.7.0.2").packed, 4000, ip_address("10.7.0.1").packed, 53),
    6: (ip_address("fd07::2").packed, 4000, ip_address("fd07::1").packed, 53),
}


def packet_of(datagram: UdpDatagram) -> bytes:
    return build_ip(datagram.source, datagram.destination, UDP, build_udp(datagram))


@given(data=st.binary(max_size=2000), version=st.sampled_from((4, 6)))
def test_a_datagram_comes_out_as_it_went_in(data: bytes, version: int):
    datagram = UdpDatagram(*FLOWS[version], data)
    assert parse_udp(parse_ip(packet_of(datagram))) == datagram


@given(data=st.binary(max_size=200), version=st.sampled_from((4, 6)))
def test_the_checksum_is_that_of_the_rfc(data: bytes, version: int):
    segment = build_udp(UdpDatagram(*FLOWS[version], data))
    source, _, destination, _ = FLOWS[version]
    pseudo = source + destination + struct.pack(">II", len(segment), UDP)
    assert checksum(pseudo + segment) == 0
    assert segment[6:8] != b"\0\0"


@pytest.mark.parametrize("version", [4, 6])
def test_a_damaged_datagram_is_dropped(version: int):
    packet = bytearray(packet_of(UdpDatagram(*FLOWS[version], b"data")))
    packet[-1] ^= 0xFF
    assert parse_udp(parse_ip(bytes(packet))) is None


def test_only_ipv4_may_do_without_a_checksum():
    for version, taken in ((4, True), (6, False)):
        source, _, destination, _ = FLOWS[version]
        segment = build_udp(UdpDatagram(*FLOWS[version], b"data"))
        packet = build_ip(source, destination, UDP, segment[:6] + b"\0\0" + segment[8:])
        assert (parse_udp(parse_ip(packet)) is not None) is taken


@pytest.mark.parametrize("length", [0, 7, 13, 65535])
def test_a_length_that_lies_is_dropped(length: int):
    segment = build_udp(UdpDatagram(*FLOWS[4], b"data"))
    source, _, destination, _ = FLOWS[4]
    packet = build_ip(source, destination, UDP, segment[:4] + struct.pack(">HH", length, 0) + segment[8:])
    assert parse_udp(parse_ip(packet)) is None


def test_what_stands_behind_a_datagram_is_cut_off():
    source, _, destination, _ = FLOWS[4]
    segment = build_udp(UdpDatagram(*FLOWS[4], b"data")) + b"options"
    assert parse_udp(parse_ip(build_ip(source, destination, UDP, segment))).data == b"data"


@pytest.mark.parametrize("ports", [(0, 53), (4000, 0)])
def test_port_zero_is_nobodys(ports: tuple[int, int]):
    source, _, destination, _ = FLOWS[4]
    datagram = UdpDatagram(source, ports[0], destination, ports[1], b"data")
    assert parse_udp(parse_ip(packet_of(datagram))) is None
