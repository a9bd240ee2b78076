"""Large packets are cut into exactly those that Linux would have made."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.batches import SlicedBuffer
from pharos.wire.awg.checksum import word_sum
from pharos.wire.awg.icmp import checksum
from pharos.wire.awg.vnet import NEEDS_CHECKSUM, TCP4, VNET_BYTES, VNET_HEADER
from tests.support.offload import MAX_CUT_BYTES, MAX_UNCUT_BYTES, cut
from tests.wire.awg.innerpackets import ACK, FIN, PSH, Segment

FRAME, INTO = SlicedBuffer(VNET_BYTES + MAX_UNCUT_BYTES), SlicedBuffer(MAX_CUT_BYTES)


def cut_bytes(frame: bytes) -> list[bytes]:
    FRAME.view[: len(frame)] = frame
    return [bytes(packet) for packet in cut(FRAME, len(frame), INTO)]


def same(packets: list[bytes], wanted: list[Segment]) -> bool:
    # What is zero in one's complement has two spellings, and both are right.
    return [zeros(packet) for packet in packets] == [zeros(bytes(segment.build())) for segment in wanted]


def zeros(packet: bytes) -> bytes:
    return packet.replace(b"\xff\xff", b"\0\0")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "udp"])
@given(
    size=st.integers(48, 1460),
    length=st.integers(1, 9000),
    sequence=st.integers(0, 2**32 - 1),
    identification=st.integers(0, 2**16 - 1),
    flags=st.sampled_from([ACK, ACK | PSH, ACK | PSH | FIN]),
    options=st.sampled_from([0, 4, 12, 40]),
    seed=st.binary(min_size=1, max_size=64),
)
def test_pieces_are_those_of_a_plain_implementation(version, tcp, size, length, seed, options, **fields):
    payload = (seed * (length // len(seed) + 1))[:length]
    segment = Segment(version=version, tcp=tcp, payload=payload, options=bytes(options), **fields)
    packets = cut_bytes(segment.uncut(size))
    assert same(packets, segment.pieces(size))


@pytest.mark.parametrize("version", [4, 6])
def test_the_largest_packet_of_the_smallest_segments_fits(version):
    segment = Segment(version=version, payload=os.urandom(65_535 - 80), options=b"")
    packets = cut_bytes(segment.uncut(48))
    assert same(packets, segment.pieces(48))


def test_a_missing_checksum_is_completed():
    segment = Segment(tcp=False, payload=b"question")
    header = VNET_HEADER.pack(NEEDS_CHECKSUM, 0, 0, 0, segment.start, 6)
    assert cut_bytes(header + bytes(segment.build(partial=True))) == [bytes(segment.build())]


def test_a_whole_packet_passes_untouched():
    packet = bytes(Segment(payload=b"x").build())
    assert cut_bytes(bytes(VNET_BYTES) + packet) == [packet]


@given(st.binary(max_size=200))
def test_damaged_frames_are_dropped_and_raise_nothing(frame):
    cut_bytes(frame)


@given(
    kind=st.integers(0, 255),
    size=st.integers(0, 2000),
    start=st.integers(0, 200),
    field=st.integers(0, 200),
    packet=st.binary(min_size=20, max_size=200),
    version=st.sampled_from([4, 6]),
)
def test_impossible_offload_headers_are_dropped_and_raise_nothing(kind, size, start, field, packet, version):
    first = bytes([version << 4 | 5])
    for each in (kind, kind % 6):
        cut_bytes(VNET_HEADER.pack(NEEDS_CHECKSUM, each, 0, size, start, field) + first + packet[1:])


def test_headers_without_payload_are_dropped():
    segment = Segment()
    assert cut_bytes(VNET_HEADER.pack(1, TCP4, segment.head, 1000, 20, 16) + bytes(segment.build())) == []


@given(st.binary(max_size=9000))
def test_the_quick_sum_is_the_sum(data):
    total = word_sum(data)
    assert 0xFFFF - (total or 0xFFFF if any(data) else 0) == checksum(data)
