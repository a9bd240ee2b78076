from __future__ import annotations

import random
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.netstack.fragments import MAX_BYTES, MAX_PACKETS, TIMEOUT, Reassembler
from pharos.wire.awg.netstack.ip import UDP, IpPacket, build_fragments, build_ip, parse_ip

FLOWS = {
    4: (ip_address("10.7.0.2").packed, ip_address("10.7.0.1").packed),
    6: (ip_address("fd07::2").packed, ip_address("fd07::1").packed),
}
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def fragments(version: int, payload: bytes, *, identification: int = 1, mtu: int = 1280) -> list[IpPacket]:
    packets = build_fragments(*FLOWS[version], UDP, payload, mtu=mtu, identification=identification)
    return [parse_ip(packet) for packet in packets]


def receive_all(reassembler: Reassembler, parts: list[IpPacket], now: float = 0.0) -> list[bytes]:
    found = [reassembler.receive(part, now) for part in parts]
    return [packet for packet in found if packet is not None]


@given(seed=st.integers(), size=st.integers(1300, 20_000), version=st.sampled_from((4, 6)))
def test_fragments_in_any_order_and_twice_make_the_packet(seed: int, size: int, version: int):
    rng = random.Random(seed)
    payload = rng.randbytes(size)
    parts = fragments(version, payload)
    shuffled = parts + rng.sample(parts, len(parts) // 2)
    rng.shuffle(shuffled)
    reassembler = Reassembler()
    (whole, *_) = receive_all(reassembler, shuffled)
    assert whole == build_ip(*FLOWS[version], UDP, payload)


@VERSIONS
def test_packets_that_come_mixed_are_told_apart(version: int):
    one, other = bytes(3000), b"x" * 3000
    parts = fragments(version, one, identification=1) + fragments(version, other, identification=2)
    reassembler = Reassembler()
    assert sorted(receive_all(reassembler, parts[::2] + parts[1::2])) == sorted(
        build_ip(*FLOWS[version], UDP, payload) for payload in (one, other)
    )
    assert reassembler.held == 0


@VERSIONS
def test_fragments_that_overlap_take_their_packet_with_them(version: int):
    parts = fragments(version, b"a" * 3000)
    shifted = fragments(version, b"b" * 3000, mtu=1200)
    reassembler = Reassembler()
    assert receive_all(reassembler, [parts[0], shifted[1]]) == []
    assert reassembler.held == 0


@VERSIONS
def test_a_second_end_is_not_believed(version: int):
    long, short = fragments(version, bytes(5000)), fragments(version, bytes(3000))
    reassembler = Reassembler()
    assert receive_all(reassembler, [long[-1], short[-1], *long[:-1]]) == []


@VERSIONS
def test_a_piece_behind_the_end_is_not_believed(version: int):
    long, short = fragments(version, bytes(5000)), fragments(version, bytes(3000))
    assert receive_all(Reassembler(), [short[-1], long[-2]]) == []
    assert receive_all(Reassembler(), [long[-2], short[-1]]) == []


@VERSIONS
def test_what_never_becomes_whole_is_forgotten_in_time(version: int):
    reassembler = Reassembler()
    first, *others = fragments(version, bytes(3000))
    reassembler.receive(first, 0.0)
    assert reassembler.held > 0
    assert receive_all(reassembler, others, TIMEOUT) == []
    assert reassembler.held == sum(len(part.payload) for part in others)


def test_a_flood_of_first_fragments_is_bounded():
    reassembler = Reassembler()
    for identification in range(10_000):
        reassembler.receive(fragments(4, bytes(9000), mtu=8192, identification=identification)[0], 0.0)
        assert reassembler.held <= MAX_BYTES
    assert len(reassembler._unfinished) <= MAX_PACKETS


def test_a_flood_of_small_pieces_of_one_packet_is_bounded():
    reassembler = Reassembler()
    for number, part in enumerate(fragments(4, bytes(60_000), mtu=28 + 8)):
        reassembler.receive(part, 0.0)
        assert number > 200 or reassembler.held <= 60_000
    assert reassembler.held < 3000


@given(st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=40), st.booleans()), max_size=30))
def test_hostile_fragments_raise_nothing(pieces: list[tuple[int, bytes, bool]]):
    reassembler = Reassembler()
    for offset, part, more in pieces:
        head = build_ip(*FLOWS[4], UDP, part)
        packet = parse_ip(head)
        from pharos.wire.awg.netstack.ip import Fragment

        packet.fragment = Fragment(1, offset // 8 * 8, more)
        whole = reassembler.receive(packet, 0.0)
        assert whole is None or parse_ip(whole).fragment is None
    assert reassembler.held <= MAX_BYTES
