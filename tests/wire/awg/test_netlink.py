"""What Linux says of addresses and interfaces is understood, and nonsense is survived."""

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.hostnet import HostNetwork
from pharos.wire.awg.netlink import AddressSeen, LinkSeen, RequestDone, parse_messages, set_gso_max_size, set_link

LOOPBACK = bytes([127, 0, 0, 1])


def message(kind: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + padded


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def test_the_near_end_of_a_point_to_point_line_is_ours():
    body = struct.pack("=BBBBI", socket.AF_INET, 32, 0, 0, 3)
    body += attribute(1, bytes([10, 0, 0, 2])) + attribute(2, bytes([10, 0, 0, 1]))
    assert parse_messages(message(20, body)) == [AddressSeen(bytes([10, 0, 0, 1]), present=True)]
    assert parse_messages(message(21, body)) == [AddressSeen(bytes([10, 0, 0, 1]), present=False)]


def test_interfaces_change_and_go():
    link = struct.pack("=BxHiII", 0, 0xFFFE, 7, 1, 0)
    read = parse_messages(message(16, link + attribute(4, struct.pack("=I", 1380))) + message(17, link))
    assert read == [LinkSeen(7, 1380), LinkSeen(7, None)]


def test_answers_end_with_a_result():
    assert parse_messages(message(3, b"\0\0\0\0")) == [RequestDone(0)]
    assert parse_messages(message(2, struct.pack("=i", -1) + bytes(16))) == [RequestDone(1)]
    assert parse_messages(set_gso_max_size(7, 61_000)) == []


def test_an_interface_is_turned_on_with_its_sizes():
    made = set_link(7, mtu=1420, queue_packets=4096)
    link = struct.pack("=BxHiII", 0, 0, 7, 1, 1)
    body = link + attribute(4, struct.pack("=I", 1420)) + attribute(13, struct.pack("=I", 4096))
    assert made == struct.pack("=IHHII", 16 + len(body), 16, 0x5, 1, 0) + body
    # The kernel tells of links in the same words.
    assert parse_messages(made) == [LinkSeen(7, 1420)]


@given(st.binary(max_size=64), st.integers(0, 30))
def test_nonsense_is_survived(body, kind):
    parse_messages(body)
    parse_messages(message(kind, body))


async def test_this_machine_knows_its_own_addresses():
    network = HostNetwork(lambda index, mtu: None)
    assert network.is_local(LOOPBACK)
    assert not network.is_local(bytes([192, 0, 2, 1]))
