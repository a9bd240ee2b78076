"""A port that cannot be had is named, with the way out."""

from __future__ import annotations

import errno
import socket

import pytest

from pharos.wire.awg.udp import bind_udp
from pharos.wire.errors import AddressError
from pharos.wire.listen import naming_address


def test_port_in_use_is_named() -> None:
    with bind_udp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"UDP port {port}.*choose another port") as caught:
            bind_udp("127.0.0.1", port)
    assert caught.value.errno == errno.EADDRINUSE
    assert isinstance(caught.value, OSError)


def test_address_of_another_machine_is_named() -> None:
    with pytest.raises(AddressError, match="no such address"), naming_address("192.0.2.1", 80, "TCP"):
        with socket.socket() as sock:
            sock.bind(("192.0.2.1", 80))


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), naming_address("127.0.0.1", 80, "TCP"):
        raise ZeroDivisionError
