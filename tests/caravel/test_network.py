"""Another network and a sleep are noticed, and what only looks like one is not."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock

from pharos.caravel.tunnel.network import Vantage, look_around, open_network_watch
from pharos.caravel.tunnel.resolving import MAX_ADDRESSES, Resolver, resolve_all
from pharos.wire.world import World, inhabiting
from tests.support.legs import HERE, NOWHERE, THERE


def test_loopback_is_reached_from_loopback_and_nothing_is_sent() -> None:
    seen: list[int] = []
    vantage = look_around(["127.0.0.1"], protect=lambda sock: seen.append(sock.fileno()))
    assert "127.0.0.1" in vantage.addresses
    assert vantage.is_online
    assert len(seen) >= 1


def test_name_is_nothing_to_look_at() -> None:
    assert look_around(["node.example"]).addresses == look_around().addresses


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (HERE, True),
        (THERE, False),
        (NOWHERE, False),
        (attrs.evolve(HERE, hardware=""), True),
        (attrs.evolve(HERE, hardware="02:00:00:00:00:99"), False),
        (attrs.evolve(HERE, addresses=("198.51.100.8",)), False),
    ],
)
def test_what_is_another_network(other: Vantage, *, alike: bool) -> None:
    assert HERE.is_like(other) is alike


def test_key_is_the_gateway_where_it_can_be_seen() -> None:
    assert HERE.key == "eth0 198.51.100.1 02:00:00:00:00:01"
    assert Vantage(addresses=("192.0.2.7",)).key == "192.0.2.7"


async def test_change_is_told_once_and_a_sleep_too(autojump_clock: MockClock) -> None:
    now, slept, told = [HERE], [0.0], list[str]()
    # A `World` that is not this machine is told nothing by a kernel.
    with inhabiting(World()):
        async with open_network_watch(lambda: now[0], told.append, clock=lambda: slept[0]):
            await trio.sleep(10)
            assert told == []
            now[0] = THERE
            await trio.sleep(3)
            assert told == ["this machine is in another network"]
            now[0] = NOWHERE
            await trio.sleep(3)
            assert told[1:] == ["this machine has no network"]
            now[0] = THERE
            await trio.sleep(3)
            slept[0] = 3600.0
            await trio.sleep(3)
            assert told[2:] == ["this machine is in another network", "this machine has slept"]
            slept[0] += 1.0
            await trio.sleep(10)
            assert len(told) == 4


async def test_names_are_remembered_for_when_nobody_can_be_asked(autojump_clock: MockClock) -> None:
    answers: list[Sequence[str] | None] = [["192.0.2.1", "192.0.2.1", *(f"192.0.2.{n}" for n in range(9, 20))], None]

    async def resolve(host: str) -> Sequence[str]:
        if host == "gone.example" or not answers:
            raise OSError("unknown")
        answer = answers.pop(0)
        if answer is None:
            await trio.sleep_forever()
            raise AssertionError
        return answer

    resolver = Resolver(resolve)
    assert await resolver("198.51.100.7") == ["198.51.100.7"]
    found = await resolver("node.example")
    assert len(found) == MAX_ADDRESSES
    # The system's resolver is behind the tunnel that is down, and says nothing.
    assert await resolver("node.example") == found
    assert await resolver("node.example") == found
    assert await resolve_all(["gone.example", "node.example"], resolver) == {"node.example": found}
    with pytest.raises(OSError, match="unknown"):
        await resolver("gone.example")


async def test_name_that_is_never_answered_is_an_error_of_its_own(autojump_clock: MockClock) -> None:
    async def resolve(_host: str) -> Sequence[str]:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(OSError, match="does not answer"):
        await functools.partial(Resolver(resolve), "node.example")()
