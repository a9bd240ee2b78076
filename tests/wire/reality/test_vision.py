import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.innertls import InnerTls
from pharos.wire.reality.vision import (
    MAX_BLOCK,
    MAX_CONTENT,
    MAX_EMPTY_BLOCKS,
    Vision,
    VisionCommand,
    VisionReader,
    VisionWriter,
)
from tests.support.strategies import quick
from tests.wire.reality.proxied import USER_ID, data_record, hello, payloads, randomness, rechunked


def blocks_of(stream: bytes, *, first: bool = True) -> list[tuple[int, bytes, int]]:
    """Take padded octets apart: command, content, padding's length."""
    at = 0
    if first:
        assert stream[:16] == USER_ID
        at = 16
    found = []
    while at < len(stream):
        command, content, padding = stream[at], stream[at + 1 : at + 3], stream[at + 3 : at + 5]
        size, pad = int.from_bytes(content, "big"), int.from_bytes(padding, "big")
        found.append((command, stream[at + 5 : at + 5 + size], pad))
        at += 5 + size + pad
    assert at == len(stream)
    return found


def pair(seed: int = 0) -> tuple[Vision, Vision]:
    return Vision(USER_ID, randomness(seed)), Vision(USER_ID, randomness(seed + 1))


def carry(sender: Vision, receiver: Vision, data: bytes, sizes: list[int] | None = None) -> bytes:
    raw = sender.writer.is_raw
    sent = sender.writer.write(data)
    assert not raw or sent == data
    got = []
    for piece in rechunked(sent, sizes or []):
        assert raw == receiver.reader.is_raw
        got.append(receiver.reader.read(piece))
    return b"".join(got)


@quick
@given(
    st.lists(st.tuples(st.booleans(), payloads), max_size=20),
    st.lists(st.integers(1, 9000), max_size=4),
    st.integers(0, 99),
)
def test_what_goes_in_comes_out_in_both_directions_however_it_is_cut(script, sizes, seed):
    ends = pair(seed)
    for from_client, data in script:
        sender, receiver = ends if from_client else ends[::-1]
        assert carry(sender, receiver, data, sizes) == data
        assert sender.writer.is_raw == receiver.reader.is_raw
        assert receiver.reader.is_between


@quick
@given(st.lists(payloads, max_size=12), st.integers(0, 99))
def test_no_block_is_longer_than_a_peer_holds_and_padding_says_nothing(script, seed):
    writer = VisionWriter(USER_ID, InnerTls(), randomness(seed))
    for number, data in enumerate(script):
        was_padding = writer._pads
        sent = writer.write(data)
        if not was_padding:
            assert sent == data
            continue
        blocks = blocks_of(sent, first=number == 0)
        assert b"".join(content for _, content, _ in blocks) == data
        assert all(5 + len(content) + padding <= MAX_BLOCK for _, content, padding in blocks)
        assert len(blocks) > 1 or len(sent) <= MAX_BLOCK
        assert all(command == VisionCommand.CONTINUE for command, _, _ in blocks[:-1])


def test_tls_13_goes_past_the_outer_tls_in_both_directions():
    client, server = pair()
    carry(client, server, hello(1))
    carry(server, client, hello(2) + data_record(2000))
    # The client's Finished goes with a CCS before it, so that it is not application data alone.
    carry(client, server, b"\x14\3\3\0\1\1" + data_record(50))
    assert not client.writer.is_raw
    carry(client, server, data_record(300))
    assert client.writer.is_raw
    assert server.reader.is_raw
    assert not server.writer.is_raw
    carry(server, client, data_record(300))
    assert server.writer.is_raw
    assert client.reader.is_raw
    assert carry(client, server, b"anything") == b"anything"


def test_tls_12_stays_inside_and_ends_its_padding_at_the_first_data():
    client, server = pair()
    carry(client, server, hello(1))
    carry(server, client, hello(2, version=b"", suite=0xC02F))
    for _ in range(12):
        assert blocks_of(client.writer.write(b"\x16\3\3\0\1x"), first=False)[-1][0] == VisionCommand.CONTINUE
    assert blocks_of(client.writer.write(data_record(40)), first=False)[-1][0] == VisionCommand.END
    assert client.writer.write(data_record(40)) == data_record(40)
    assert not client.writer.is_raw


def test_what_is_not_tls_is_padded_for_seven_buffers():
    client, server = pair()
    commands = [blocks_of(client.writer.write(b"GET /"), first=not number)[0][0] for number in range(7)]
    assert commands == [VisionCommand.CONTINUE] * 6 + [VisionCommand.END]
    assert client.writer.write(b"GET /") == b"GET /"
    # The other end counts what it receives, so that its own padding is over as early.
    other = VisionWriter(USER_ID, InnerTls(), randomness())
    for _ in range(6):
        server.reader.read(other.write(b"GET /"))
    assert blocks_of(server.writer.write(b"HTTP"))[0][0] == VisionCommand.END


def test_hellos_are_drawn_out_to_lengths_that_say_nothing():
    lengths = set()
    for seed in range(40):
        writer = VisionWriter(USER_ID, InnerTls(), randomness(seed))
        [(_, _, padding)] = blocks_of(writer.write(hello(1)))
        total = len(hello(1)) + padding
        assert 900 <= total < 1400
        lengths.add(total)
    assert len(lengths) > 30
    writer = VisionWriter(USER_ID, InnerTls(), lambda size: b"\xff" * size)
    assert blocks_of(writer.write(b"x"))[0][2] == 0xFF
    assert blocks_of(writer.write_empty(), first=False) == [(0, b"", 900 + 0xFFFFFFFF % 500)]


def test_a_block_takes_what_fits_and_a_longer_piece_is_cut():
    writer = VisionWriter(USER_ID, InnerTls(), lambda size: b"\xff" * size)
    sent = writer.write(bytes(MAX_CONTENT))
    assert len(sent) == MAX_BLOCK
    assert [len(content) for _, content, _ in blocks_of(writer.write(bytes(MAX_CONTENT + 1)), first=False)] == [
        4096,
        4076,
    ]


def test_plaintext_behind_the_last_block_is_payload_still():
    server = VisionReader(USER_ID, InnerTls())
    assert server.read(USER_ID + b"\2\0\1\0\3aPPPrest") == b"arest"
    assert server.is_raw


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GET / HTTP/1.1", "not for this user"),
        (USER_ID[:15] + b"\0", "not for this user"),
        (USER_ID + b"\3\0\0\0\0", "no command 3"),
        (USER_ID + b"\0\0\0\0\0\xff\0\0\0\0", "no command 255"),
    ],
)
def test_what_is_no_block_is_refused(data, what):
    with pytest.raises(RemoteProtocolError, match=what):
        VisionReader(USER_ID, InnerTls()).read(data)


def test_blocks_that_carry_nothing_are_not_read_for_ever():
    reader = VisionReader(USER_ID, InnerTls())
    reader.read(USER_ID)
    for _ in range(3):
        reader.read(bytes(5 * MAX_EMPTY_BLOCKS))
        assert reader.read(b"\0\0\1\0\0x") == b"x"
    with pytest.raises(RemoteProtocolError, match="carry nothing"):
        reader.read(bytes(5 * MAX_EMPTY_BLOCKS + 5))


@quick
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_octets_are_read_or_refused_and_hardly_any_are_kept(pieces):
    reader = VisionReader(USER_ID, InnerTls())
    reader.read(USER_ID)
    for piece in pieces:
        try:
            reader.read(piece)
        except RemoteProtocolError:
            return
        assert len(reader._head) < 5


def test_an_end_between_blocks_is_told_from_one_inside():
    reader = VisionReader(USER_ID, InnerTls())
    stream = USER_ID + b"\0\0\2\0\1abP" + b"\1\0\1\0\0c"
    between = []
    for at in range(len(stream)):
        reader.read(stream[at : at + 1])
        if reader.is_between:
            between.append(at + 1)
    assert between == [16, 24, len(stream)]


def test_the_same_randomness_makes_the_same_octets():
    made = [VisionWriter(USER_ID, InnerTls(), random.Random(3).randbytes).write(hello(1)) for _ in range(2)]
    assert made[0] == made[1]
