"""A port that cannot be had is named, with the way out; and an accept loop goes on, whatever accept(2) says."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

import pytest
import trio
import trio.testing

from pharos.wire.awg.udp import bind_udp
from pharos.wire.errors import AddressError
from pharos.wire.listen import Spare, accept_forever, naming_address, refuse


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


class Troubled:
    """The first calls of accept(2) fail as they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: int) -> None:
        self.left = list(errors)
        real = socket.socket.accept

        def accept(door: socket.socket) -> tuple[socket.socket, object]:
            if self.left:
                number = self.left.pop(0)
                raise OSError(number, os.strerror(number))
            return real(door)

        monkeypatch.setattr(socket.socket, "accept", accept)


async def let_in_one() -> list[str]:
    """Accept one connection with the loop; return what it said on the way."""
    said: list[str] = []
    taken = trio.Event()

    def take(sock: socket.socket, address: str) -> None:
        said.append(address)
        sock.close()
        taken.set()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:

            async def accept() -> None:
                await accept_forever(listeners, take, exhausted=lambda: said.append("exhausted"))

            nursery.start_soon(accept)
            async with await trio.open_tcp_stream("127.0.0.1", port):
                await taken.wait()
            nursery.cancel_scope.cancel()
    with pytest.raises(OSError):
        await trio.open_tcp_stream("127.0.0.1", port)
    return said


@pytest.mark.parametrize(
    "number",
    [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EINTR, errno.ETIMEDOUT],
)
async def test_accept_loop_outlives_errors_of_the_connection(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    Troubled(monkeypatch, number, number)
    assert await let_in_one() == ["127.0.0.1"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_accept_loop_waits_while_the_kernel_has_nothing(
    number: int, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    # Each second call is the one that the spare descriptor was given up for.
    Troubled(monkeypatch, *[number] * 6)
    autojump_clock.autojump_threshold = 0.05
    assert await let_in_one() == ["exhausted", "exhausted", "exhausted", "127.0.0.1"]


async def test_accept_loop_ends_when_its_socket_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Troubled(monkeypatch, errno.EBADF)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with socket.create_connection(listeners[0].socket.getsockname()):
        with trio.fail_after(20), pytest.RaisesGroup(OSError):
            await accept_forever(listeners, lambda _sock, _address: None, exhausted=lambda: None)


def test_spare_descriptor_lets_one_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, Spare() as spare:
        with socket.create_connection(door.getsockname()) as client:
            client.settimeout(20)
            assert spare.spend(door)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        # A thread took it meanwhile: not spent, and there again when there is one.
        with monkeypatch.context() as full:

            def fail(*_args: object) -> int:
                raise OSError(errno.EMFILE, "full")

            full.setattr(os, "open", fail)
            with socket.create_connection(door.getsockname()):
                assert spare.spend(door)
            assert not spare.spend(door)
        assert not spare.spend(door)
        with socket.create_connection(door.getsockname()):
            assert spare.spend(door)


def test_refused_peer_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()) as client:
        refuse(door.accept()[0])
        with contextlib.closing(client), pytest.raises(ConnectionResetError):
            client.recv(1)
