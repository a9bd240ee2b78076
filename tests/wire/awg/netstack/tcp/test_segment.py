from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.netstack.ip import parse_ip
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.options import Options, SynOptions, build_blocks, parse_options
from pharos.wire.awg.netstack.tcp.reset import reset_for
from pharos.wire.awg.netstack.tcp.segment import ACK, FIN, PSH, RST, SYN, Segment, build_packet, parse_segment
from tests.wire.awg.netstack.tcp.simulated import FLOW4, FLOW6, read_packet

NUMBERS = st.integers(0, 2**32 - 1)
PAIRS = st.tuples(NUMBERS, NUMBERS)


def rfc1071(data: bytes) -> int:
    """The checksum as RFC 1071 §4.1 writes it."""
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    flags = draw(st.sampled_from([ACK, ACK | PSH, ACK | FIN, RST, RST | ACK]))
    stamp = draw(st.none() | PAIRS)
    blocks = tuple(draw(st.lists(PAIRS, max_size=3)))
    payload = draw(st.binary(max_size=1400))
    return Segment(40000, 80, draw(NUMBERS), draw(NUMBERS), flags, draw(st.integers(0, 65535)), payload, stamp, blocks)


@given(segment=segments(), flow=st.sampled_from([FLOW4, FLOW6]))
def test_what_is_built_is_read_again(segment: Segment, flow: Flow) -> None:
    packet = build_packet(flow, segment)
    ip = parse_ip(packet)
    assert ip is not None
    assert (ip.source, ip.destination, ip.data) == (flow.local, flow.remote, packet)
    again = parse_segment(ip.data, ip.start)
    assert again is not None
    for name in Segment.__slots__:
        if name != "__weakref__":
            assert getattr(again, name) == getattr(segment, name)


@given(segment=segments(), flow=st.sampled_from([FLOW4, FLOW6]))
def test_the_checksum_is_that_of_the_standard(segment: Segment, flow: Flow) -> None:
    packet = build_packet(flow, segment)
    start = 20 if len(flow.local) == 4 else 40
    pseudo = flow.local + flow.remote + (len(packet) - start).to_bytes(4, "big") + b"\0\0\0\6"
    assert rfc1071(pseudo + packet[start:]) == 0
    if start == 20:
        assert rfc1071(packet[:20]) == 0


@given(segment=segments(), flow=st.sampled_from([FLOW4, FLOW6]), at=st.integers(0), bit=st.integers(0, 7))
def test_a_damaged_bit_is_noticed(segment: Segment, flow: Flow, at: int, bit: int) -> None:
    packet = bytearray(build_packet(flow, segment))
    start = 20 if len(flow.local) == 4 else 40
    packet[start + at % (len(packet) - start)] ^= 1 << bit
    assert parse_segment(bytes(packet), start) is None


@given(data=st.binary(max_size=120), start=st.sampled_from([20, 40]))
def test_nothing_that_is_read_raises(data: bytes, start: int) -> None:
    parse_segment(bytes((0x45 if start == 20 else 0x60,)) + bytes(start - 1) + data, start)


@pytest.mark.parametrize("words", [0, 4, 6, 15])
def test_a_header_longer_or_shorter_than_its_segment_is_none(words: int) -> None:
    packet = bytearray(build_packet(FLOW4, Segment(1, 2, 3, 4, ACK, 5)))
    packet[32] = words << 4
    packet[36:38] = bytes(2)
    pseudo = FLOW4.local + FLOW4.remote + b"\0\6\0\x14"
    packet[36:38] = rfc1071(pseudo + packet[20:]).to_bytes(2, "big")
    assert parse_segment(bytes(packet), 20) is None


@given(
    mss=st.none() | st.integers(0, 65535),
    scale=st.none() | st.integers(0, 14),
    sack=st.booleans(),
    stamp=st.none() | PAIRS,
)
def test_options_of_a_syn_are_read_again(
    mss: int | None, scale: int | None, sack: bool, stamp: tuple[int, int] | None
) -> None:
    syn = Segment(1, 2, 3, 0, SYN, 4, b"", stamp, (), SynOptions(mss=mss, scale=scale, sack=sack))
    again = read_packet(build_packet(FLOW4, syn))
    assert (again.syn_options, again.timestamp) == (syn.syn_options, stamp)
    assert len(build_packet(FLOW4, syn)) <= 80


@given(data=st.binary(max_size=40))
def test_options_of_any_kind_never_raise_and_never_grow(data: bytes) -> None:
    options = parse_options(data)
    assert len(options.blocks) <= 4


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (b"", Options(SynOptions())),
        (b"\1\1\1", Options(SynOptions())),
        (b"\0\2\4\5\xb4", Options(SynOptions())),
        (b"\2\4\5\xb4", Options(SynOptions(mss=1460))),
        (b"\x1e\6abcd\2\4\5\xb4", Options(SynOptions(mss=1460))),
        (b"\3\3\x20", Options(SynOptions(scale=14))),
        (b"\2\1\2\4\5\xb4", Options(SynOptions())),
        (b"\2\4\5", Options(SynOptions())),
        (b"\5\x0b" + bytes(9), Options(SynOptions())),
        (build_blocks(((1, 2), (3, 4))), Options(SynOptions(), None, ((1, 2), (3, 4)))),
    ],
)
def test_options_are_read_up_to_the_first_that_is_damaged(data: bytes, options: Options) -> None:
    assert parse_options(data) == options


def test_a_segment_of_no_connection_is_reset_by_its_own_acknowledgement() -> None:
    packet = reset_for(FLOW4, Segment(80, 40000, 100, 700, ACK, 9, b"abc"))
    assert packet is not None
    reset = read_packet(packet)
    assert (reset.flags, reset.seq) == (RST, 700)


def test_a_syn_of_no_connection_is_reset_behind_it() -> None:
    packet = reset_for(FLOW4, Segment(80, 40000, 2**32 - 1, 0, SYN, 9))
    assert packet is not None
    reset = read_packet(packet)
    assert (reset.flags, reset.seq, reset.ack) == (RST | ACK, 0, 0)


def test_a_reset_is_never_answered() -> None:
    assert reset_for(FLOW4, Segment(80, 40000, 1, 0, RST, 0)) is None
