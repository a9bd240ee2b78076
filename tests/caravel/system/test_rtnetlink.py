"""Messages of the routing socket, octet by octet as iproute2 sends them (seen by strace(1)), and what it answers."""

from __future__ import annotations

import ipaddress
import struct

from hypothesis import given
from hypothesis import strategies as st

from pharos.caravel.system.routes import MAIN, Route, RouteKind, Rule
from pharos.caravel.system.rtnetlink import (
    DefaultRoute,
    Done,
    Link,
    add_address,
    add_route,
    add_rule,
    parse_messages,
    remove_rule,
    set_up,
)


def attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        found[kind] = data[at + 4 : at + size]
        at += (size + 3) & ~3
    return found


def header(message: bytes) -> tuple[int, int]:
    size, kind, flags = struct.unpack_from("=IHH", message)
    assert size == len(message)
    return kind, flags


def test_a_rule_says_all_that_it_is() -> None:
    rule = Rule(
        version=4,
        priority=20_800,
        table=0x7068,
        to=ipaddress.ip_network("10.0.0.0/8"),
        mark=0x0400_0000,
        mask=0x0C00_0000,
        inverted=True,
        suppress=True,
        flow=(17, 68, 67),
    )
    message = add_rule(rule)
    assert header(message) == (32, 0x1 | 0x4 | 0x200 | 0x400)
    # AF_INET, 8 bits of destination, to a table, inverted.
    assert message[16:28] == bytes([2, 8, 0, 0, 0, 0, 0, 1]) + struct.pack("=I", 2)
    said = attributes(message[28:])
    assert said[1] == bytes([10, 0, 0, 0])
    assert struct.unpack("=I", said[6]) == (20_800,)
    assert struct.unpack("=II", said[10] + said[16]) == (0x0400_0000, 0x0C00_0000)
    assert struct.unpack("=I", said[14]) == (0,)
    assert struct.unpack("=I", said[15]) == (0x7068,)
    assert said[22] == bytes([17])
    assert struct.unpack("=HHHH", said[23] + said[24]) == (68, 68, 67, 67)
    assert header(remove_rule(rule)) == (33, 0x1 | 0x4)


def test_a_route_without_an_interface_leads_nowhere() -> None:
    route = Route(network=ipaddress.ip_network("::/0"), kind=RouteKind.UNREACHABLE, metric=0xFFFF_FFFF, table=0x7068)
    message = add_route(route)
    assert header(message) == (24, 0x1 | 0x4 | 0x200 | 0x400)
    assert message[16:28] == bytes([10, 0, 0, 0, 0, 4, 0, 7]) + bytes(4)
    assert attributes(message[28:]).keys() == {6, 15}


def test_an_address_brings_no_route_and_is_asked_of_nobody() -> None:
    message = add_address(7, ipaddress.ip_interface("fd07::2/64"))
    assert message[16:24] == bytes([10, 128, 0, 0]) + struct.pack("=I", 7)
    said = attributes(message[24:])
    assert said[1] == said[2] == ipaddress.ip_address("fd07::2").packed
    assert struct.unpack("=I", said[8]) == (0x02 | 0x200,)


def test_an_interface_is_turned_on() -> None:
    message = set_up(7)
    assert message[16:] == struct.pack("=BxHiII", 0, 0, 7, 1, 1)


def answer(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body + bytes(-len(body) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


def default(*, table: int = MAIN, length: int = 0, kind: int = 1) -> bytes:
    body = bytes([2, length, 0, 0, table, 3, 0, kind]) + bytes(4)
    number = struct.pack("=I", 2)
    return answer(24, body + attribute(4, number) + attribute(5, bytes([10, 0, 0, 1])) + attribute(6, b"\x64\0\0\0"))


def test_the_machines_own_default_routes_are_found_among_others() -> None:
    data = default(table=99) + default(length=8) + default(kind=7) + default() + answer(3, bytes(4))
    assert parse_messages(data) == [DefaultRoute(4, 2, bytes([10, 0, 0, 1]), 100), Done(0)]


def test_what_the_kernel_refuses_is_an_error_number() -> None:
    assert parse_messages(answer(2, struct.pack("=i", -17))) == [Done(17)]


def test_a_link_has_its_mtu() -> None:
    body = struct.pack("=BxHiII", 0, 1, 2, 0, 0) + attribute(4, struct.pack("=I", 1400))
    assert parse_messages(answer(16, body)) == [Link(2, 1400)]


@given(st.binary(max_size=200), st.sampled_from([2, 3, 16, 24]))
def test_no_answer_is_too_odd_to_be_read(noise: bytes, kind: int) -> None:
    parse_messages(noise)
    parse_messages(answer(kind, noise))
