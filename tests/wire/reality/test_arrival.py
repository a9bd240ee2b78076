"""First records: a hello in any pieces, and what can be none of a device's."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.reality.arrival import HelloReader
from pharos.wire.reality.client import ClientConnection
from pharos.wire.reality.errors import TlsError
from tests.support.reality import NOW, seeded, settings
from tests.wire.reality.proxied import rechunked

HELLO = bytes(ClientConnection(settings(), now=NOW, random=seeded()).take_output())


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=20), st.binary(max_size=50))
def test_a_hello_is_whole_with_its_last_octet(sizes: list[int], rest: bytes) -> None:
    reader = HelloReader()
    found = None
    for piece in rechunked(HELLO, sizes):
        assert found is None
        found = reader.feed(piece)
    assert found is not None
    assert found.raw == HELLO[5:]
    assert reader.take_rest() == b""


def test_what_comes_behind_a_hello_is_given_back() -> None:
    reader = HelloReader()
    assert reader.feed(HELLO + b"rest") is not None
    assert reader.take_rest() == b"rest"


@pytest.mark.parametrize(
    "first",
    [b"G", b"\x17", b"\x16\2", b"\x16\3\1\0\0", b"\x16\3\1\x40\1", b"\x16\3\1\0\5\2", b"\x16\3\1\0\5\1\0\0\1\0"],
)
def test_what_is_no_hello_is_known_by_its_first_octets(first: bytes) -> None:
    reader = HelloReader()
    for octet in first[:-1]:
        assert reader.feed(bytes((octet,))) is None
    with pytest.raises(TlsError):
        reader.feed(first[-1:])


@given(st.binary(max_size=600))
def test_nothing_makes_it_fail_otherwise(data: bytes) -> None:
    reader = HelloReader()
    with contextlib.suppress(TlsError):
        reader.feed(b"\x16\3\1" + data)
