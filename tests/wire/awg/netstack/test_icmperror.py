from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.icmp import Echo, build_echo
from pharos.wire.awg.netstack.icmperror import (
    IcmpError,
    Problem,
    build_icmp_error,
    deserves_answer,
    error_of,
    parse_icmp_error,
)
from pharos.wire.awg.netstack.ip import ICMP, ICMPV6, TCP, UDP, build_fragments, build_ip, parse_ip
from pharos.wire.awg.netstack.udp import UdpDatagram, build_udp

OURS = {4: ip_address("10.7.0.2").packed, 6: ip_address("fd07::2").packed}
PEER = {4: ip_address("192.0.2.1").packed, 6: ip_address("2001:db8::1").packed}
ROUTER = {4: ip_address("10.7.0.1").packed, 6: ip_address("fd07::1").packed}
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def datagram(version: int, size: int = 100) -> bytes:
    body = build_udp(UdpDatagram(OURS[version], 4000, PEER[version], 53, bytes(size)))
    return build_ip(OURS[version], PEER[version], UDP, body)


@VERSIONS
@pytest.mark.parametrize("problem", list(Problem))
def test_an_error_is_read_to_the_flow_that_it_is_about(version: int, problem: Problem):
    packet = build_icmp_error(problem, datagram(version), ROUTER[version], mtu=1300)
    assert parse_icmp_error(parse_ip(packet)) == IcmpError(
        problem=problem,
        mtu=1300 if problem is Problem.TOO_BIG else 0,
        protocol=UDP,
        source=OURS[version],
        destination=PEER[version],
        source_port=4000,
        destination_port=53,
        sequence=int.from_bytes(datagram(version)[-104:-100], "big"),
    )


@VERSIONS
def test_an_error_goes_to_the_sender_and_quotes_as_much_as_it_may(version: int):
    packet = build_icmp_error(Problem.PORT_UNREACHABLE, datagram(version, 4000), ROUTER[version])
    parsed = parse_ip(packet)
    assert (parsed.source, parsed.destination) == (ROUTER[version], OURS[version])
    assert len(packet) == (576 if version == 4 else 1280)


@VERSIONS
def test_an_error_about_the_first_fragment_is_read(version: int):
    body = build_udp(UdpDatagram(OURS[version], 4000, PEER[version], 53, bytes(3000)))
    first, *_ = build_fragments(OURS[version], PEER[version], UDP, body, mtu=1280, identification=1)
    found = parse_icmp_error(parse_ip(build_icmp_error(Problem.TOO_BIG, first, ROUTER[version], mtu=1280)))
    assert (found.source_port, found.destination_port, found.mtu) == (4000, 53, 1280)


@VERSIONS
def test_an_error_about_a_later_fragment_says_nothing(version: int):
    body = build_udp(UdpDatagram(OURS[version], 4000, PEER[version], 53, bytes(3000)))
    *_, last = build_fragments(OURS[version], PEER[version], UDP, body, mtu=1280, identification=1)
    assert parse_icmp_error(parse_ip(build_icmp_error(Problem.TOO_BIG, last, ROUTER[version], mtu=1280))) is None


@pytest.mark.parametrize(
    ("said", "size", "believed"), [(0, 1400, 1006), (0, 500, 576), (40, 1400, 576), (1300, 1400, 1300)]
)
def test_a_router_of_old_that_names_no_mtu_is_helped_out(said: int, size: int, believed: int):
    packet = build_icmp_error(Problem.TOO_BIG, datagram(4, size - 28), ROUTER[4], mtu=said)
    assert parse_icmp_error(parse_ip(packet)).mtu == believed


def test_ipv6_knows_no_path_of_less_than_1280():
    assert parse_icmp_error(parse_ip(build_icmp_error(Problem.TOO_BIG, datagram(6), ROUTER[6], mtu=68))).mtu == 1280


@VERSIONS
def test_a_damaged_error_is_dropped(version: int):
    packet = bytearray(build_icmp_error(Problem.PORT_UNREACHABLE, datagram(version), ROUTER[version]))
    packet[-1] ^= 1
    assert parse_icmp_error(parse_ip(bytes(packet))) is None


@VERSIONS
def test_errors_are_never_answered_by_errors(version: int):
    error = build_icmp_error(Problem.PORT_UNREACHABLE, datagram(version), ROUTER[version])
    assert not deserves_answer(parse_ip(error))


@VERSIONS
def test_an_echo_request_deserves_an_error(version: int):
    echo = Echo(
        source=ip_address(OURS[version]), destination=ip_address(PEER[version]), identifier=1, sequence=1, payload=b""
    )
    assert deserves_answer(parse_ip(build_echo(echo)))


@pytest.mark.parametrize("source", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "ff02::1", "::"])
def test_who_is_not_one_host_gets_no_error(source: str):
    packed = ip_address(source).packed
    version = 4 if len(packed) == 4 else 6
    assert not deserves_answer(parse_ip(build_ip(packed, OURS[version], UDP, bytes(8))))


def test_errors_are_those_that_sockets_raise():
    assert isinstance(error_of(Problem.PORT_UNREACHABLE), ConnectionRefusedError)
    assert error_of(Problem.HOST_UNREACHABLE).errno == errno.EHOSTUNREACH
    assert isinstance(error_of(Problem.PROHIBITED), PermissionError)


@given(st.sampled_from((4, 6)), st.binary(max_size=200))
def test_hostile_messages_raise_nothing(version: int, message: bytes):
    protocol = ICMP if version == 4 else ICMPV6
    parse_icmp_error(parse_ip(build_ip(PEER[version], OURS[version], protocol, message)))


@given(st.sampled_from((4, 6)), st.binary(max_size=80), st.sampled_from(Problem))
def test_hostile_quotations_raise_nothing(version: int, quoted: bytes, problem: Problem):
    about = build_ip(OURS[version], PEER[version], TCP, b"")[: 20 if version == 4 else 40] + quoted
    parse_icmp_error(parse_ip(build_icmp_error(problem, about, ROUTER[version])))
