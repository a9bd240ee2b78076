"""What counts as a leak: everything but datagrams to nodes, and what a link lives of."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from tests.system.leaks import judge

NODE = ("203.0.113.10", 51820)


def ipv4(target: str, protocol: int, payload: bytes) -> bytes:
    head = bytes([0x45, 0]) + bytes(7) + bytes([protocol]) + bytes(6) + ipaddress.IPv4Address(target).packed
    return bytes(12) + b"\x08\x00" + head + payload


def ipv6(target: str, protocol: int, payload: bytes) -> bytes:
    head = bytes(6) + bytes([protocol]) + bytes(17) + ipaddress.IPv6Address(target).packed
    return bytes(12) + b"\x86\xdd" + head + payload


def ports(source: int, target: int) -> bytes:
    return struct.pack("!HHHH", source, target, 8, 0)


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (ipv4(NODE[0], 17, ports(40000, NODE[1])), ""),
        (ipv4(NODE[0], 17, ports(40000, 53)), f"protocol 17 to {NODE[0]} port 53"),
        (ipv4(NODE[0], 6, ports(40000, NODE[1])), f"protocol 6 to {NODE[0]} port {NODE[1]}"),
        (ipv4("192.0.2.1", 17, ports(40000, NODE[1])), f"protocol 17 to 192.0.2.1 port {NODE[1]}"),
        (ipv4("255.255.255.255", 17, ports(68, 67)), None),
        (ipv4("192.0.2.1", 1, bytes(8)), "protocol 1 to 192.0.2.1 port 0"),
        (ipv6("ff02::1:ff00:1", 58, bytes([135]) + bytes(7)), None),
        (ipv6("ff02::16", 0, bytes([58, 0, 5, 2, 0, 0, 1, 0, 143]) + bytes(7)), None),
        (ipv6("2001:db8::1", 58, bytes([128]) + bytes(7)), "protocol 58 to 2001:db8::1 port 0"),
        (ipv6("ff02::fb", 17, ports(5353, 5353)), "protocol 17 to ff02::fb port 5353"),
        (bytes(12) + b"\x08\x06" + bytes(28), None),
        (bytes(12) + b"\x88\xcc" + bytes(28), "ethernet 0x88cc"),
    ],
)
def test_a_frame_is_judged_by_where_it_goes(frame: bytes, found: str | None) -> None:
    assert judge(frame, [NODE]) == found
