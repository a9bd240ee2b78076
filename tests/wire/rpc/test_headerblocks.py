"""Remembered header blocks decode, by a decoder that remembers nothing, to what was encoded."""

from h2.events import RequestReceived, TrailersReceived
from hpack.hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

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
