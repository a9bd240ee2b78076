"""Connecting to hosts by name: their addresses are raced while they are still being looked up (RFC 8305)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from pharos.wire.awg.netstack.ip import IpAddress
from pharos.wire.awg.netstack.racing import AddressFeed, Feed, race, verdict
from pharos.wire.awg.netstack.resolver import Resolver, literal_of

R = TypeVar("R", bound=trio.abc.AsyncResource)


def order_versions(addresses: Sequence[IpAddress]) -> tuple[int, ...]:
    """Return the versions of IP that a host with these addresses can speak, the preferred one first.

    An IPv6 address that is not of the Internet is no reason to prefer it (RFC 6724 §2.2 rules 5 and 6).
    """
    versions = {address.version for address in addresses}
    prefers_six = any(address.version == 6 and address.is_global for address in addresses)
    return tuple(sorted(versions, reverse=prefers_six))


async def resolve_all(resolver: Resolver, host: str, versions: Sequence[int]) -> list[IpAddress]:
    """Return a host's addresses, those of the preferred version first; at least one.

    Raises: OSError — there are none, or nobody could say.
    """
    found: dict[int, list[IpAddress]] = {}
    failures: list[Exception] = []

    async def look_up(version: int) -> None:
        try:
            found[version] = await resolver.resolve(host, version)
        except OSError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for version in versions:
            nursery.start_soon(look_up, version)
    addresses = [address for version in versions for address in found.get(version, [])]
    if not addresses:
        raise verdict(failures)
    return addresses


async def dial_host(
    resolver: Resolver, host: str, versions: Sequence[int], attempt: Callable[[IpAddress], Awaitable[R]]
) -> R:
    """Return what ``attempt`` opened to the first of a host's addresses that answers; the caller owns it.

    Raises: OSError — no address answers, or there is none.
    """
    if (literal := literal_of(host)) is not None:
        return await attempt(literal)
    feed = AddressFeed(versions)
    places: Feed[IpAddress] = feed
    failures: list[Exception] = []
    won: list[R] = []

    async def look_up(version: int) -> None:
        addresses: list[IpAddress] = []
        try:
            addresses = await resolver.resolve(host, version)
        except OSError as error:
            failures.append(error)
        finally:
            feed.add(version, addresses)

    async def connect() -> None:
        try:
            won.append(await race(places, attempt, discard=trio.aclose_forcefully))
        except OSError as error:
            # What was found and did not answer says more than what was not found.
            if feed.offered:
                failures.insert(0, error)
        nursery.cancel_scope.cancel()

    taken = False
    try:
        async with trio.open_nursery() as nursery:
            for version in versions:
                nursery.start_soon(look_up, version)
            nursery.start_soon(connect)
        taken = True
    finally:
        for stream in won[taken:]:
            await trio.aclose_forcefully(stream)
    if won:
        return won[0]
    raise failures[0]
