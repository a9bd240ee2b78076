"""Remembered header blocks decode, by a decoder that remembers nothing, to what was encoded."""

from typing import Any

import pytest
from h2.events import RequestReceived, TrailersReceived
from hpack import NeverIndexedHeaderTuple
from hpack.hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.rpc import headerblocks
from pharos.wire.rpc.headerblocks import VOLATILE, RememberingDecoder, RememberingEncoder

NAMES = st.sampled_from(["te", "x-a", "x-b", "content-type", "grpc-status", *sorted(VOLATILE)])
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=300)
LISTS = st.lists(st.lists(st.tuples(NAMES, st.sampled_from(["", "v", "w" * 200]) | VALUES), max_size=8), max_size=12)


def plain(headers: object) -> list[tuple[bytes, bytes]]:
    return sorted((bytes(name), bytes(value)) for name, value in headers)  # type: ignore[attr-defined]


@given(lists=LISTS, resizes=st.lists(st.sampled_from([0, 64, 4096]), max_size=3))
def test_encoded_lists_decode_to_themselves(lists: list[list[tuple[str, str]]], resizes: list[int]) -> None:
    encoder, decoder = RememberingEncoder(), Decoder()
    for number, headers in enumerate(lists + lists):
        if number < len(resizes):
            encoder.header_table_size = resizes[number]
        expected = sorted((name.encode(), value.encode()) for name, value in headers)
        assert plain(decoder.decode(encoder.encode_list(headers), raw=True)) == expected


@given(lists=LISTS)
def test_recalled_blocks_are_those_that_would_be_decoded(lists: list[list[tuple[str, str]]]) -> None:
    encoder, ours, theirs = Encoder(), RememberingDecoder(), Decoder()
    for headers in lists + lists:
        block = encoder.encode(headers)
        expected = [(name.decode(), value.decode()) for name, value in theirs.decode(block, raw=True)]
        recalled = ours.recall(block, RequestReceived)
        if recalled is not None:
            assert recalled == expected
            continue
        ours.decode(block, raw=True)
        ours.remember(block, RequestReceived, expected)
        assert ours.recall(block, TrailersReceived) is None


def test_second_call_of_a_method_costs_a_few_bytes() -> None:
    encoder = RememberingEncoder()
    headers = [(":method", "POST"), (":path", "/pharos.buoy.v1.Control/Push"), ("te", "trailers")]
    first, second, third = (encoder.encode_list(headers) for _ in range(3))
    assert len(second) == 3 < len(first)
    assert third is second


def test_volatile_fields_leave_the_table_alone() -> None:
    encoder, decoder = RememberingEncoder(), Decoder()
    headers = [("te", "trailers")]
    encoder.encode_list(headers)
    before = encoder.header_table.version
    for number in range(100):
        block = encoder.encode_list([*headers, ("grpc-timeout", f"{number}m"), ("grpc-message", "x" * 3 * number)])
        del block
    assert encoder.header_table.version == before
    block = RememberingEncoder().encode_list([("grpc-message", "y" * 70_000)])
    decoder.max_header_list_size = 100_000
    assert plain(decoder.decode(block, raw=True)) == [(b"grpc-message", b"y" * 70_000)]


def test_what_a_peer_makes_us_remember_is_bounded() -> None:
    decoder = RememberingDecoder()
    for number in range(1000):
        block = b"\x10\x01a\x04%04d" % number
        decoder.decode(block, raw=True)
        decoder.remember(block, RequestReceived, [("a", f"{number:04}")])
    assert len(decoder._known) <= 32
    large = b"\x10\x01a\x7f\xe1\x06" + b"v" * 992
    decoder.decode(large, raw=True)
    decoder.remember(large, RequestReceived, [("a", "v" * 992)])
    assert decoder.recall(large, RequestReceived) is None


# -- the first blocks of all connections

REQUEST = [(":method", "POST"), (":path", "/pharos.buoy.v1.Control/First"), ("te", "trailers"), ("x-a", "1")]
NEXT = [(":method", "POST"), (":path", "/pharos.buoy.v1.Control/Second"), ("te", "trailers"), ("x-a", "1")]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has seen no connection yet."""
    monkeypatch.setattr(headerblocks, "_ENCODED", headerblocks._Firsts())
    monkeypatch.setattr(headerblocks, "_DECODED", headerblocks._Firsts())


def fields(decoder: Decoder, block: bytes) -> list[Any]:
    return [tuple(header) for header in decoder.decode(block)]


def learn(decoder: RememberingDecoder, block: bytes) -> list[Any]:
    """Do with a block as `HotMachine` does; return its headers."""
    known = decoder.recall(block, RequestReceived)
    if known is None:
        known = fields(decoder, block)
        decoder.remember(block, RequestReceived, known)
    return known


def table_of(coder: Encoder | Decoder) -> tuple[object, ...]:
    return list(coder.header_table.dynamic_entries), coder.header_table._current_size


def test_next_connection_knows_the_first_blocks() -> None:
    blocks, tables = [], []
    for _ in range(2):
        encoder, decoder, theirs = RememberingEncoder(), RememberingDecoder(), Decoder()
        for headers in (REQUEST, NEXT, REQUEST, NEXT):
            block = encoder.encode_list(headers)
            assert learn(decoder, block) == headers
            assert fields(theirs, block) == headers
            assert table_of(decoder) == table_of(theirs) == table_of(encoder)
            blocks.append(block)
        tables.append(table_of(decoder))
    assert blocks[:4] == blocks[4:]
    # Not only the same, but the same object: it was not encoded again.
    assert blocks[0] is blocks[4]
    assert blocks[1] is blocks[5]
    fresh = RememberingDecoder()
    assert fresh.recall(blocks[0], TrailersReceived) is None
    assert fresh.recall(blocks[1], RequestReceived) is None, "it follows the first only"
    assert fresh.recall(blocks[0], RequestReceived) == REQUEST
    assert fresh.recall(blocks[1], RequestReceived) == NEXT


def test_connections_that_part_ways_do_not_mix() -> None:
    one, two, three = (RememberingEncoder() for _ in range(3))
    one.encode_list(REQUEST)
    one.encode_list(NEXT)
    two.encode_list(NEXT)
    two.encode_list(REQUEST)
    decoder = Decoder()
    for headers in (NEXT, REQUEST, NEXT):
        assert fields(decoder, three.encode_list(headers)) == headers


def test_table_of_another_size_goes_its_own_way() -> None:
    RememberingEncoder().encode_list(REQUEST)
    encoder, decoder = RememberingEncoder(), Decoder()
    encoder.header_table_size = 64
    for headers in (REQUEST, NEXT, REQUEST):
        assert fields(decoder, encoder.encode_list(headers)) == headers
        assert table_of(encoder) == table_of(decoder)
    first = RememberingEncoder().encode_list(REQUEST)
    learn(RememberingDecoder(), first)
    small = RememberingDecoder()
    small.header_table_size = 64
    assert small.recall(first, RequestReceived) is None


def test_no_more_first_blocks_are_kept_than_said() -> None:
    for number in range(3 * headerblocks._REMEMBERED_FIRSTS):
        block = RememberingEncoder().encode_list([("x-a", str(number))])
        learn(RememberingDecoder(), block)
    assert len(headerblocks._ENCODED._steps) == headerblocks._REMEMBERED_FIRSTS
    assert len(headerblocks._DECODED._steps) == headerblocks._REMEMBERED_FIRSTS
    assert RememberingDecoder().recall(block, RequestReceived) == [("x-a", str(number))]


def test_large_first_blocks_are_not_kept() -> None:
    block = RememberingEncoder().encode_list([("x-a", "v" * 2000)])
    learn(RememberingDecoder(), block)
    assert not headerblocks._ENCODED._steps
    assert not headerblocks._DECODED._steps


def test_what_is_never_to_be_indexed_outlives_no_connection() -> None:
    block = Encoder().encode([("x-a", "1"), NeverIndexedHeaderTuple("x-b", "secret")])
    decoder = RememberingDecoder()
    headers = [*decoder.decode(block)]
    assert isinstance(headers[1], NeverIndexedHeaderTuple)
    decoder.remember(block, RequestReceived, headers)
    assert not headerblocks._DECODED._steps
