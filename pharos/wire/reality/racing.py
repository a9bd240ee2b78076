"""A race over several ways to a node: the first whose REALITY handshake is done wins (after RFC 8305 §5).

A way that a middlebox slows down or answers itself costs a moment, and no more: TCP alone proves nothing, for whoever
stands between can accept it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import trio

from pharos.wire.errors import LinkLostError, PeerRejectedError, WireError
from pharos.wire.reality.dial import CONNECT_TIMEOUT, TakeStranger, dial_reality
from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import RealCertificateError
from pharos.wire.reality.options import Endpoint
from pharos.wire.reality.stream import RealityStream
from pharos.wire.tcpdial import Protect, Resolve
from pharos.wire.units import MILLISECONDS
from pharos.wire.world import random_bytes, wall_seconds

NEXT_AFTER: Final = 250 * MILLISECONDS
"""What RFC 8305 §5 recommends between two attempts."""


async def race_reality(
    endpoints: Sequence[Endpoint],
    *,
    next_after: float = NEXT_AFTER,
    connect_timeout: float = CONNECT_TIMEOUT,
    clock: Callable[[], float] = wall_seconds,
    random: Random = random_bytes,
    take_stranger: TakeStranger | None = None,
    protect: Protect | None = None,
    resolve: Resolve | None = None,
) -> tuple[int, RealityStream]:
    """Return the index of the first endpoint whose handshake is done, and its stream, which is the caller's.

    The next one is dialled ``next_after`` seconds after the one before it, or at once when that fails; the losers are
    closed. ``connect_timeout`` is for each. ``clock``: Unix seconds.

    Raises, once all have failed, with what each of them did:
        RealCertificateError — a server is not our node.
        LinkLostError — none is that bad, and one is not there.
        WireError — all of them broke the protocol, each in the same or another way; the first's own error.
    """
    assert endpoints, "there is a way to every node that is dialled"
    failures: dict[int, WireError] = {}
    won: list[tuple[int, RealityStream]] = []

    async def attempt(index: int, failed: trio.Event) -> None:
        endpoint = endpoints[index]
        try:
            stream = await dial_reality(
                endpoint.host,
                endpoint.port,
                endpoint.settings,
                connect_timeout=connect_timeout,
                clock=clock,
                random=random,
                take_stranger=take_stranger,
                protect=protect,
                resolve=resolve,
            )
        except WireError as error:
            failures[index] = error
            failed.set()
            return
        if won:
            # Both were done in the same turn of the event loop.
            await trio.aclose_forcefully(stream)
            return
        won.append((index, stream))
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for index in range(len(endpoints)):
                failed = trio.Event()
                nursery.start_soon(attempt, index, failed)
                with trio.move_on_after(next_after):
                    await failed.wait()
    except BaseException:
        # The caller's own cancellation may come together with the victory.
        for _, stream in won:
            await trio.aclose_forcefully(stream)
        raise
    if not won:
        raise _verdict(endpoints, failures)
    return won[0]


def _verdict(endpoints: Sequence[Endpoint], failures: Mapping[int, WireError]) -> WireError:
    """Return one error that tells of all; the alarming one decides its kind."""
    ordered = [failures[index] for index in range(len(endpoints))]
    if len(ordered) == 1:
        return ordered[0]
    text = "; ".join(_told(endpoint, error) for endpoint, error in zip(endpoints, ordered, strict=True))
    if any(isinstance(error, PeerRejectedError) for error in ordered):
        return RealCertificateError(text)
    if any(isinstance(error, LinkLostError) for error in ordered):
        return LinkLostError(text)
    return WireError(text)


def _told(endpoint: Endpoint, error: WireError) -> str:
    # A lost link says by itself where it was to lead.
    return str(error) if isinstance(error, LinkLostError) else f"{endpoint}: {error}"
