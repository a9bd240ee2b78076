import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.reality.innertls import BUFFER_OCTETS, MAX_BUFFERS, InnerTls, is_complete_data
from tests.support.strategies import quick
from tests.wire.reality.proxied import data_record, hello, payloads


def seen(*pieces: tuple[bytes, bool]) -> InnerTls:
    inner = InnerTls()
    for piece, ours in pieces:
        inner.look(piece, ours=ours)
    return inner


def test_tls_13_is_known_by_both_hellos_at_either_end():
    for ours in (True, False):
        inner = seen((hello(1), ours), (hello(2), not ours))
        assert (inner.is_tls, inner.server_answered, inner.is_tls13, inner.buffers_left) == (True, True, True, 0)


@pytest.mark.parametrize(
    ("record", "is_tls13"),
    [
        (hello(2, suite=0x1304), True),
        (hello(2, suite=0x1305), False),
        (hello(2, suite=0xC02F), False),
        (hello(2, version=b"\x03\x03"), False),
        (hello(2, version=b""), False),
        (hello(2, session_id=b""), True),
        (b"\x16\3\3\0\4\2\0\0\0", False),
    ],
)
def test_only_tls_13_with_a_strong_suite_may_leave_the_outer_tls(record, is_tls13):
    inner = seen((hello(1), True), (record, False))
    assert (inner.is_tls, inner.is_tls13, inner.buffers_left) == (True, is_tls13, 0)


def test_a_version_that_stands_anywhere_else_does_not_count():
    # Xray looks for these six octets in all of the hello; a server may have them in its random by chance.
    fake = hello(2, version=b"").replace(b"r" * 6, b"\0\x2b\0\2\3\4", 1)
    assert not seen((fake, False)).is_tls13


@quick
@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.booleans())
def test_a_hello_in_pieces_is_put_together_whatever_the_other_side_says_meanwhile(sizes, ours):
    record = hello(2)
    inner = InnerTls()
    at, first = 0, max(6, sizes[0])
    for size in [first, *sizes[1:], len(record)]:
        inner.look(record[at : at + size], ours=ours)
        at += size
        if at >= len(record):
            break
        if inner.buffers_left > 2:
            inner.look(hello(1), ours=not ours)
    assert inner.is_tls13


def test_eight_buffers_are_looked_at_and_a_long_piece_is_several():
    inner = seen(*[(b"x", True)] * (MAX_BUFFERS - 1))
    assert inner.buffers_left == 1
    inner.look(bytes(2 * BUFFER_OCTETS), ours=False)
    assert inner.buffers_left == 0
    inner.look(hello(1), ours=True)
    assert not inner.is_tls
    assert seen((bytes(3 * BUFFER_OCTETS), True)).buffers_left == MAX_BUFFERS - 3


@quick
@given(st.lists(st.tuples(payloads, st.booleans()), max_size=12))
def test_no_payload_upsets_it(pieces):
    inner = seen(*pieces)
    assert 0 <= inner.buffers_left <= MAX_BUFFERS
    assert inner.is_tls13 <= inner.server_answered <= inner.is_tls


@pytest.mark.parametrize(
    ("data", "complete"),
    [
        (b"", False),
        (data_record(1), True),
        (data_record(1) + data_record(9000), True),
        (data_record(5)[:-1], False),
        (data_record(5) + b"\x17", False),
        (data_record(5) + b"\x17\3\3\0\1", False),
        (data_record(0), False),
        (hello(1), False),
        (data_record(5) + hello(1), False),
        (b"\x17\3\1\0\1d", False),
    ],
)
def test_complete_data_is_whole_records_of_application_data(data, complete):
    assert is_complete_data(data) is complete
