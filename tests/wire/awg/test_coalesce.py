"""Packets are joined where nobody can tell, and nowhere else."""

import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.batches import SlicedBuffer
from pharos.wire.awg.coalesce import Coalescer
from pharos.wire.awg.flows import MAX_JOINED_BYTES, MAX_JOINED_PACKETS
from pharos.wire.awg.vnet import NOTHING_TO_DO
from tests.support.offload import MAX_CUT_BYTES, cut
from tests.wire.awg.innerpackets import ACK, FIN, PSH, SYN, Segment, in_rows

SIZE = 100
FORWARDING = Coalescer(udp=True)
TERMINATING = Coalescer(udp=True, is_local=lambda destination: True)


def join(packets, coalescer=FORWARDING) -> list[bytes]:
    views = [memoryview(bytearray(packet)) for packet in packets]
    return [b"".join(frame) for frame in coalescer.join(views)]


def recut(frames: list[bytes]) -> list[bytes]:
    """What Linux makes of the frames."""
    packets = []
    for frame in frames:
        buffer = SlicedBuffer(len(frame))
        buffer.view[:] = frame
        packets += [bytes(packet) for packet in cut(buffer, len(frame), SlicedBuffer(MAX_CUT_BYTES))]
    return packets


def zeros(packets) -> list[bytes]:
    # What is zero in one's complement has two spellings, and both are right.
    return [bytes(packet).replace(b"\xff\xff", b"\0\0") for packet in packets]


def stream(count=5, last=SIZE, **fields) -> list[Segment]:
    segments = Segment(payload=bytes(range(256)) * 40, **fields).pieces(SIZE)[:count]
    segments[-1] = attrs.evolve(segments[-1], payload=b"x" * last)
    return segments


def built(segments) -> list[bytearray]:
    return [segment.build() for segment in segments]


@pytest.mark.parametrize("coalescer", [FORWARDING, TERMINATING], ids=["forwarding", "terminating"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "udp"])
@pytest.mark.parametrize("last", [1, 37, SIZE])
def test_a_stream_becomes_one_packet_of_which_linux_makes_the_same_stream(coalescer, version, tcp, last):
    packets = built(stream(last=last, version=version, tcp=tcp))
    frames = join(packets, coalescer)
    assert len(frames) == 1
    assert zeros(recut(frames)) == zeros(packets)


@pytest.mark.parametrize("coalescer", [FORWARDING, TERMINATING], ids=["forwarding", "terminating"])
@pytest.mark.parametrize("version", [4, 6])
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, 11),
            st.sampled_from([{"flags": ACK | PSH}, {"window": 9}, {"sequence": 5}, {"options": b"\1" * 12}, {}]),
        ),
        max_size=3,
    ),
    count=st.integers(1, 12),
    wrap=st.booleans(),
)
def test_packets_in_rows_are_joined_as_others_are(coalescer, version, changes, count, wrap):
    segments = stream(12, version=version, sequence=2**32 - 250 if wrap else 1000)
    for place, change in changes:
        segments[place] = attrs.evolve(segments[place], **change)
    packets = built(segments)
    rows = in_rows(packets[:count])
    views = [*rows.views(), *map(memoryview, map(bytearray, packets[count:]))]
    assert [b"".join(frame) for frame in coalescer.join(views, rows)] == join(packets, coalescer)


@pytest.mark.parametrize("version", [4, 6])
def test_a_pushed_packet_is_the_last_of_its_frame(version):
    segments = stream(6, version=version)
    segments[2] = attrs.evolve(segments[2], flags=ACK | PSH)
    packets = built(segments)
    frames = join(packets)
    assert len(frames) == 2
    assert zeros(recut(frames)) == zeros(packets)


@pytest.mark.parametrize(
    "change",
    [
        {"flags": ACK | FIN},
        {"flags": SYN},
        {"flags": ACK | 0x20},
        {"window": 501},
        {"options": bytes(11) + b"\1"},
        {"options": bytes(16)},
        {"fragment": 0},
        {"fragment": 0x6000},
        {"sequence": 5},
        {"payload": b""},
        {"payload": b"x" * (SIZE + 1)},
    ],
    ids=str,
)
def test_a_packet_that_is_otherwise_stands_alone_and_in_its_place(change):
    segments = stream(6)
    segments[3] = attrs.evolve(segments[3], **change)
    packets = built(segments)
    frames = join(packets)
    assert NOTHING_TO_DO + bytes(packets[3]) in frames
    assert zeros(recut(frames)) == zeros(packets)


def test_flows_are_joined_though_they_alternate():
    one, two, three = stream(source_port=1), stream(source_port=2), stream(version=6)
    packets = [packet for each in zip(built(one), built(two), built(three), strict=True) for packet in each]
    frames = join(packets)
    assert len(frames) == 3
    assert sorted(zeros(recut(frames))) == sorted(zeros(packets))


def test_sequence_numbers_may_wrap():
    packets = built(stream(sequence=2**32 - 250))
    assert zeros(recut(join(packets))) == zeros(packets)


def test_no_frame_exceeds_what_headers_can_say():
    large = Segment(tcp=False, payload=b"x" * 1400)
    frames = join([large.build()] * 100)
    assert all(len(frame) <= MAX_JOINED_BYTES + len(NOTHING_TO_DO) for frame in frames)
    assert [recut([frame]) for frame in frames]
    assert len(frames) == -(-100 * 1400 // (46 * 1400))
    small = Segment(tcp=False, payload=b"x")
    assert len(join([small.build()] * 2 * MAX_JOINED_PACKETS)) == 2


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "udp"])
@pytest.mark.parametrize("victim", range(5))
def test_damage_is_not_laundered_on_the_way_through(version, tcp, victim):
    packets = built(stream(version=version, tcp=tcp))
    packets[victim][-1] ^= 1
    # What would happen to it if it were not verified: its pieces leave with checksums that are right.
    weakened = recut(join(packets, TERMINATING))
    assert bytes(packets[victim]) not in weakened
    assert weakened[victim][-1] == packets[victim][-1]
    frames = join(packets)
    assert NOTHING_TO_DO + bytes(packets[victim]) in frames
    assert zeros(recut(frames)) == zeros(packets)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "udp"])
def test_words_that_two_packets_exchanged_are_damage(version, tcp):
    packets = built(stream(version=version, tcp=tcp))
    whole = packets[1][-2:], packets[3][-2:]
    assert whole[0] != whole[1]
    packets[1][-2:], packets[3][-2:] = reversed(whole)
    # In the sum of all five nothing has changed; by their own sums two are wrong.
    assert zeros(recut(join(packets, TERMINATING))) != zeros(packets)
    frames = join(packets)
    assert frames == [NOTHING_TO_DO + bytes(packet) for packet in packets]


def test_a_damaged_ip_header_is_not_laundered_either():
    packets = built(stream())
    packets[2][10] ^= 1
    assert bytes(packets[2]) not in recut(join(packets, TERMINATING))
    assert NOTHING_TO_DO + bytes(packets[2]) in join(packets)
    # Nor if the payload makes up for it, so that the sum of the whole packet is right.
    packets = built(stream())
    header, payload = struct.unpack_from(">H", packets[2], 10), struct.unpack_from(">H", packets[2], 52)
    struct.pack_into(">H", packets[2], 10, *payload)
    struct.pack_into(">H", packets[2], 52, *header)
    assert header != payload
    assert NOTHING_TO_DO + bytes(packets[2]) in join(packets)


def test_datagrams_without_a_checksum_are_not_given_one():
    segments = stream(tcp=False)
    packets = built(segments)
    for packet in packets:
        struct.pack_into(">H", packet, 26, 0)
    assert join(packets) == [NOTHING_TO_DO + bytes(packet) for packet in packets]


def test_datagrams_stay_apart_where_linux_cannot_cut_them():
    packets = built(stream(tcp=False))
    assert len(join(packets, Coalescer(udp=False))) == len(packets)


@given(
    st.lists(
        st.builds(
            Segment,
            version=st.sampled_from([4, 6]),
            tcp=st.booleans(),
            payload=st.binary(max_size=3),
            sequence=st.integers(0, 6),
            flags=st.sampled_from([ACK, ACK, ACK | PSH, ACK | FIN]),
            source_port=st.integers(1, 2),
            options=st.sampled_from([b"", bytes(4)]),
        ),
        max_size=12,
    )
)
def test_each_flow_keeps_its_packets_and_their_order(segments):
    packets = built(segments)
    found = zeros(recut(join(packets)))
    for version, tcp, port in {(each.version, each.tcp, each.source_port) for each in segments}:
        mine = [
            packet
            for packet, each in zip(packets, segments, strict=True)
            if (each.version, each.tcp, each.source_port) == (version, tcp, port)
        ]
        # The identification means nothing in a packet that no router may cut; Linux counts it up.
        theirs = [packet for packet in found if flow_of(packet) == flow_of(mine[0])]
        assert without_identification(theirs) == without_identification(zeros(mine))


def flow_of(packet) -> tuple[int, int, bytes]:
    version = packet[0] >> 4
    start = 20 if version == 4 else 40
    return version, packet[9 if version == 4 else 6], bytes(packet[start : start + 2])


def without_identification(packets) -> list[bytes]:
    return [
        bytes(p[:4]) + b"\0\0" + bytes(p[6:10]) + b"\0\0" + bytes(p[12:]) if p[0] >> 4 == 4 else bytes(p)
        for p in packets
    ]


@given(st.lists(st.binary(min_size=40, max_size=80), max_size=6))
def test_noise_passes_as_it_is(packets):
    noise = [bytes([first]) + packet[1:] for packet in packets for first in (0x45, 0x46, 0x60)]
    assert sorted(join(noise)) == sorted(NOTHING_TO_DO + packet for packet in noise)
