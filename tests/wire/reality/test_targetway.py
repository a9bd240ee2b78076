"""The way to the target: what is looked up, how often, and what happens when an address has gone."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from pharos.wire.reality import targetway
from pharos.wire.reality.targetway import TargetWay

HOST = "127.0.0.1"
NAME = "www.site.test"


class Resolver(trio.abc.HostnameResolver):
    """Knows one name, and counts how often it is asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked = 0

    async def getaddrinfo(self, host: Any, port: Any, *_options: Any) -> list[Any]:
        self.asked += 1
        assert host in (NAME, NAME.encode())
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, port))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise AssertionError("nobody asks for names")


def resolving(address: str = HOST) -> Resolver:
    """Have this test's names resolved by ours."""
    made = Resolver(address)
    trio.socket.set_custom_hostname_resolver(made)
    return made


@asynccontextmanager
async def listening(host: str = HOST, port: int = 0) -> AsyncIterator[int]:
    [listener] = await trio.open_tcp_listeners(port, host=host)
    async with listener:
        yield listener.socket.getsockname()[1]


async def dialled(way: TargetWay) -> str:
    """Return the address that was connected to."""
    async with await way.open() as stream:
        return str(stream.socket.getpeername()[0])


async def test_a_name_is_looked_up_once_while_its_address_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = resolving()
    async with listening() as port:
        way = TargetWay(NAME, port)
        assert [await dialled(way) for _ in range(3)] == [HOST] * 3
        assert resolver.asked == 1
        monkeypatch.setattr(targetway, "FRESH", 0)
        way = TargetWay(NAME, port)
        assert [await dialled(way) for _ in range(3)] == [HOST] * 3
        assert resolver.asked == 4


async def test_an_address_that_has_gone_is_forgotten_and_the_name_is_asked_again() -> None:
    resolver = resolving()
    async with listening() as port:
        way = TargetWay(NAME, port)
        await dialled(way)
    resolver.address = "127.0.0.2"
    async with listening("127.0.0.2", port):
        assert await dialled(way) == "127.0.0.2"
        assert await dialled(way) == "127.0.0.2"
    assert resolver.asked == 2
    with pytest.raises(OSError, match="connect"):
        await dialled(way)


async def test_an_address_is_dialled_as_it_is() -> None:
    resolver = resolving()
    async with listening() as port:
        assert await dialled(TargetWay(HOST, port)) == HOST
    with pytest.raises(ConnectionRefusedError):
        await dialled(TargetWay(HOST, port))
    async with listening("::1") as port:
        assert await dialled(TargetWay("::1", port)) == "::1"
    assert resolver.asked == 0


async def test_an_address_that_says_nothing_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = resolving()

    async def silent(_host: str, _port: int) -> trio.SocketStream:
        await trio.sleep_forever()
        raise AssertionError("it sleeps for ever")

    monkeypatch.setattr(targetway, "_connect", silent)
    monkeypatch.setattr(targetway, "ATTEMPT", 0.01)
    async with listening() as port:
        way = TargetWay(NAME, port)
        await dialled(way)
        with trio.fail_after(30):
            assert await dialled(way) == HOST
    assert resolver.asked == 2
