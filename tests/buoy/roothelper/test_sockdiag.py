"""The kernel's answer about a connection is read as what it is: that one, a listener, another, or none."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.roothelper.acts import SocketAddress, SocketPair
from pharos.buoy.roothelper.sockdiag import (
    NO_COOKIE,
    SocketSeen,
    destroy_socket,
    find_socket,
    parse_answer,
)

PAIR = SocketPair(SocketAddress(ip_address("192.0.2.1"), 443), SocketAddress(ip_address("198.51.100.7"), 50000))
COOKIE = bytes(range(8))
ESTABLISHED, LISTEN = 1, 10


def answer(*, ports: tuple[int, int] = (443, 50000), state: int = ESTABLISHED, uid: int = 999) -> bytes:
    identity = pack("!HH", *ports) + bytes(32) + bytes(4) + COOKIE
    body = pack("=BBBB", 2, state, 0, 0) + identity + pack("=IIIII", 0, 0, 0, uid, 7)
    return pack("=IHHII", 16 + len(body), 20, 0, 1, 0) + body


def error(number: int) -> bytes:
    body = pack("=i", -number) + bytes(16)
    return pack("=IHHII", 16 + len(body), 2, 0, 1, 0) + body


def test_request_names_one_connection_and_whoever_has_it() -> None:
    data = find_socket(PAIR)
    # inet_diag.h: a header of 16, a request of 56.
    assert len(data) == 72
    assert data[16:18] == bytes((2, 6))
    assert data[24:28] == (443).to_bytes(2, "big") + (50000).to_bytes(2, "big")
    assert data[28:32] == bytes((192, 0, 2, 1))
    assert data[44:48] == bytes((198, 51, 100, 7))
    assert data[-8:] == NO_COOKIE


def test_end_is_for_the_very_socket_that_was_found() -> None:
    data = destroy_socket(PAIR, COOKIE)
    assert data[4:6] == pack("=H", 21)
    assert data[-8:] == COOKIE


def test_connection_is_known_by_its_ports() -> None:
    seen = parse_answer(answer())
    assert seen == SocketSeen(ports=(443, 50000), listens=False, uid=999, cookie=COOKIE)
    assert isinstance(seen, SocketSeen)
    assert seen.is_connection(PAIR)


@pytest.mark.parametrize("data", [answer(ports=(443, 0), state=LISTEN), answer(ports=(443, 1)), answer(state=LISTEN)])
def test_listener_that_the_kernel_names_instead_is_not_the_connection(data: bytes) -> None:
    seen = parse_answer(data)
    assert isinstance(seen, SocketSeen)
    assert not seen.is_connection(PAIR)


def test_errors_are_numbers() -> None:
    assert parse_answer(error(0)) == 0
    assert parse_answer(error(errno.ENOENT)) == errno.ENOENT


@given(st.binary(max_size=120))
def test_what_does_not_read_is_an_error(data: bytes) -> None:
    assert isinstance(parse_answer(data), (int, SocketSeen))
    assert parse_answer(data[:15]) == errno.EBADMSG
