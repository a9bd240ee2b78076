"""Where users may go: by address, after every name has been looked up."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
import trio

from pharos.wire.errors import LinkRefusedError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.routing import Routes, connect, is_own, resolve
from tests.wire.reality.fronts import HOST, running_target

INSIDE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1"),
    *("239.1.2.3", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "192.0.0.8"),
    *(
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "2001::1",
        "64:ff9b:1::1",
    ),
    # IPv6 addresses that lead to one of the first.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1"),
]
OUTSIDE = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_not_of_the_internet_is_refused(address: str) -> None:
    assert not Routes().permit(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_the_internet_is_open(address: str) -> None:
    assert Routes().permit(ipaddress.ip_address(address))


def test_this_machines_own_addresses_are_refused_though_they_are_public(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ipaddress.ip_address("1.1.1.1")
    assert Routes().permit(own)
    monkeypatch.setattr("pharos.wire.reality.routing.is_own", lambda address: address == own)
    assert not Routes().permit(own)
    assert not Routes().permit(ipaddress.ip_address("::ffff:1.1.1.1"))
    assert Routes(allowed=(ipaddress.ip_network("1.1.1.0/24"),)).permit(own)


def test_an_address_is_own_if_a_socket_can_have_it() -> None:
    assert is_own(ipaddress.ip_address(HOST))
    assert not is_own(ipaddress.ip_address("192.0.2.1"))


def test_a_rule_opens_its_network_and_no_other() -> None:
    routes = Routes(allowed=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")))
    assert routes.permit(ipaddress.ip_address("10.1.2.3"))
    assert routes.permit(ipaddress.ip_address("::ffff:10.1.2.3"))
    assert routes.permit(ipaddress.ip_address("fd12::1"))
    assert not routes.permit(ipaddress.ip_address("127.0.0.1"))


class Resolver(trio.abc.HostnameResolver):
    """Says other things each time that it is asked, as the owner of a name may."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)

    async def getaddrinfo(self, host: Any, port: Any, *_args: Any, **_options: Any) -> list[Any]:
        found = self.answers.pop(0) if host == b"name.test" else (host.decode(),)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    async def getnameinfo(self, *_args: Any) -> Any:
        raise AssertionError("nobody asks for names")


async def test_a_name_is_asked_for_once_and_all_its_addresses_are_judged() -> None:
    async with running_target() as target:
        loopback = ipaddress.ip_network("127.0.0.0/8")
        address = Address("name.test", target.port)
        resolver = Resolver(("10.0.0.1", "169.254.169.254", HOST), ("10.0.0.1",))
        trio.socket.set_custom_hostname_resolver(resolver)
        # Of its three addresses only the one that is allowed is tried.
        stream = await connect(address, Routes(allowed=(loopback,)))
        async with stream:
            assert stream.socket.getpeername() == (HOST, target.port)
        assert len(resolver.answers) == 1
        with pytest.raises(LinkRefusedError):
            await connect(address, Routes(allowed=(loopback,)))
        assert resolver.answers == []


async def test_an_error_says_nothing_of_where_a_user_wanted_to_go() -> None:
    with pytest.raises(LinkRefusedError) as caught:
        await resolve(Address("127.0.0.1", 80), Routes(), kind=socket.SOCK_STREAM)
    assert "127" not in str(caught.value)


async def test_the_next_address_is_tried_when_one_refuses() -> None:
    async with running_target() as target:
        trio.socket.set_custom_hostname_resolver(Resolver(("127.0.0.9", HOST)))
        stream = await connect(
            Address("name.test", target.port), Routes(allowed=(ipaddress.ip_network("127.0.0.0/8"),))
        )
        await stream.aclose()
        trio.socket.set_custom_hostname_resolver(Resolver(("127.0.0.9",)))
        with pytest.raises(OSError, match=r"."):
            await connect(Address("name.test", target.port), Routes(allowed=(ipaddress.ip_network("127.0.0.0/8"),)))


@pytest.mark.parametrize("host", ["a..b", f"{64 * 'a'}.test"])
async def test_a_name_that_cannot_be_looked_up_is_a_name_that_is_not_there(host: str) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        await resolve(Address(host, 80), Routes(), kind=socket.SOCK_STREAM)
    assert isinstance(caught.value, socket.gaierror)
