"""The name in a ClientHello: found however the hello is cut up, and never at the price of more than 16 KiB."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.beacon.decoy.clienthello import HANDSHAKE, MAX_HELLO, MAX_RECORDS, Hello, Wanted, read_hello

NAME = "gate.r.0123456789abcdef.internal"


def client_hello(name: str | None) -> bytes:
    """What OpenSSL sends first."""
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


HELLO = client_hello(NAME)


def in_records(message: bytes, size: int) -> bytes:
    """The same handshake message in records of so many octets (RFC 8446 §5.1)."""
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(bytes([HANDSHAKE, 3, 1]) + len(piece).to_bytes(2) + piece for piece in pieces)


def read_as_it_comes(data: bytes) -> tuple[Hello, int]:
    """Read what a connection brings, as the listener does; return the result and how often it had to look."""
    found, looks = read_hello(b""), 0
    while isinstance(found, Wanted):
        assert found.size <= min(len(data), MAX_HELLO), "it waits for what never comes"
        found, looks = read_hello(data[: found.size]), looks + 1
    return found, looks


@pytest.mark.parametrize(
    ("asked", "read"), [(NAME, NAME), ("GATE.R.Example", "gate.r.example"), (None, None), ("192.0.2.1", None)]
)
def test_name_is_found_in_lower_case(asked: str | None, read: str | None) -> None:
    assert read_as_it_comes(client_hello(asked)) == (Hello(read), 2)


@given(st.integers(1, 600))
def test_hello_in_many_records_is_read_and_in_too_many_is_nobodys(size: int) -> None:
    message = HELLO[5:]
    found, looks = read_as_it_comes(in_records(message, size) + bytes(5))
    few = -(-len(message) // size) <= MAX_RECORDS
    assert found == Hello(NAME if few else None)
    assert looks <= 2 * MAX_RECORDS


@given(st.data())
def test_hello_that_is_damaged_is_read_without_an_error(data: st.DataObject) -> None:
    damaged = bytearray(HELLO)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    found = read_hello(cut)
    if isinstance(found, Wanted):
        assert len(cut) < found.size <= MAX_HELLO


@given(st.binary(max_size=200))
def test_junk_is_read_without_an_error(junk: bytes) -> None:
    found = read_hello(junk)
    assert isinstance(found, Hello) or len(junk) < found.size <= MAX_HELLO


@given(st.binary(max_size=300))
def test_junk_in_a_hellos_place_is_read_without_an_error(body: bytes) -> None:
    message = b"\x01" + len(body).to_bytes(3) + body
    found = read_hello(in_records(message, 4096))
    assert isinstance(found, Hello)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\n", id="plain"),
        pytest.param(bytes([HANDSHAKE, 3, 1, 255, 255]), id="a record that is too large"),
        pytest.param(bytes([HANDSHAKE, 3, 1, 0, 0]) * 9, id="records of nothing"),
        pytest.param(in_records(b"\x02" + HELLO[6:], 4096), id="a ServerHello"),
    ],
)
def test_what_is_no_hello_names_nobody(data: bytes) -> None:
    assert read_hello(data) == Hello()
