"""The rules over sessions. Pure: the caller brings the sessions, the record's word on devices, and where addresses are.

Thresholds are wide on purpose. A rule that cries at everybody who walks from Wi-Fi into the street is muted within a
week, and then it finds nothing.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from pharos.helm.anomalies.facts import Address, Finding, Place, Sign, Stay
from pharos.helm.model.alerts import Severity
from pharos.helm.store.times import rfc3339
from pharos.wire.ids import DeviceId

Locate = Callable[[Address], Place | None]

_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND

MANY_NETWORKS: Final = "many_networks"
IMPOSSIBLE_TRAVEL: Final = "impossible_travel"
DENIED_DEVICE: Final = "denied_device_connected"

# A device that moves on is silent at its old node from then on, but a node that it left may hear one more rekey, which
# comes two minutes after the last. Beyond twice that it is two devices.
OVERLAP: Final = 5 * _MINUTE
# One walk between Wi-Fi and the street is A, B, A. Two devices that share a profile take it from each other all day.
RETURNS: Final = 4
RETURN_WINDOW: Final = 15 * _MINUTE
# An airliner's cruise, 900 km/h, and some tail wind.
FASTEST_KM_H: Final = 1_000.0
# GeoIP files put mobile networks into the operator's city: what is nearer than a country's width says nothing.
LEAST_KM: Final = 500.0
_EARTH_KM: Final = 6_371.0
# Clocks of nodes may be off by five minutes (security.md row 69), and a revocation takes two seconds.
DENIED_GRACE: Final = 5 * _MINUTE + 2 * _SECOND


def many_networks(stays: Iterable[Stay]) -> Iterator[Finding]:
    """Find devices that were connected from two networks at the same time: a profile that was copied, most likely.

    Addresses of different versions are no two networks: a home has one of each.
    """
    for device_id, of_device in _by_device(stays):
        running: list[Stay] = []
        newest: Finding | None = None
        for stay in of_device:
            running = [other for other in running if other.seen_at >= stay.opened_at + OVERLAP]
            for other in running:
                until = min(other.seen_at, stay.seen_at)
                if until - stay.opened_at >= OVERLAP and _differ(other.network, stay.network):
                    newest = Finding(
                        kind=MANY_NETWORKS,
                        subject=device_id,
                        noun="device",
                        text=f"connected from {other.address} and from {stay.address} at the same time",
                        at=until,
                        evidence={
                            "first": str(other.address),
                            "first_node": other.node_id,
                            "second": str(stay.address),
                            "second_node": stay.node_id,
                            "from": rfc3339(stay.opened_at),
                            "until": rfc3339(until),
                        },
                    )
            running.append(stay)
        if newest is not None:
            yield newest


def returning_networks(signs: Iterable[Sign]) -> Iterator[Finding]:
    """Find devices whose one session goes back and forth between networks, as it does where two devices share a key."""
    grouped: dict[DeviceId, list[Sign]] = defaultdict(list)
    for sign in signs:
        grouped[sign.device_id].append(sign)
    for device_id, of_device in grouped.items():
        of_device.sort(key=lambda sign: sign.at)
        returns: deque[int] = deque()
        seen: dict[tuple[int, int], Sign] = {}
        last: Sign | None = None
        for sign in of_device:
            if last is not None and _differ(last.network, sign.network):
                before = seen.get(sign.network)
                if before is not None and sign.at - before.at <= RETURN_WINDOW:
                    returns.append(sign.at)
                while returns and sign.at - returns[0] > RETURN_WINDOW:
                    returns.popleft()
                if len(returns) >= RETURNS:
                    yield Finding(
                        kind=MANY_NETWORKS,
                        subject=device_id,
                        noun="device",
                        text=f"went back and forth between {last.address} and {sign.address}",
                        at=of_device[-1].at,
                        evidence={
                            "first": str(last.address),
                            "second": str(sign.address),
                            "returns": len(returns),
                            "until": rfc3339(sign.at),
                        },
                    )
                    break
            seen[sign.network] = last = sign


def impossible_travel(stays: Iterable[Stay], locate: Locate) -> Iterator[Finding]:
    """Find devices that were in two places between which nobody travels so fast."""
    for device_id, of_device in _by_device(stays):
        newest: Finding | None = None
        for before, after in itertools.pairwise(of_device):
            if not _differ(before.network, after.network):
                continue
            start, end = locate(before.address), locate(after.address)
            if start is None or end is None:
                continue
            apart = distance_km(start, end) - start.accuracy_km - end.accuracy_km
            hours = max(0, after.opened_at - before.seen_at) / (3600 * _SECOND)
            if apart < LEAST_KM or apart <= hours * FASTEST_KM_H:
                continue
            newest = Finding(
                kind=IMPOSSIBLE_TRAVEL,
                subject=device_id,
                noun="device",
                text=f"was in {start.label}, and {_span(hours)} later in {end.label}, {apart:,.0f} km away",
                at=after.opened_at,
                evidence={
                    "first": str(before.address),
                    "first_place": start.label,
                    "second": str(after.address),
                    "second_place": end.label,
                    "kilometres": round(apart),
                    "hours": round(hours, 2),
                },
            )
        if newest is not None:
            yield newest


@attrs.frozen
class Denied:
    """A device that is to be kept out."""

    word: str
    """``revoked``, ``disabled``, ``expired``."""
    since: int


def denied_connected(stays: Iterable[Stay], denied: Mapping[DeviceId, Denied]) -> Iterator[Finding]:
    """Find devices that a node served after they were denied: the node does not know it, or does not care."""
    newest: dict[DeviceId, Stay] = {}
    for stay in stays:
        entry = denied.get(stay.device_id)
        if entry is not None and stay.seen_at > entry.since + DENIED_GRACE:
            known = newest.get(stay.device_id)
            if known is None or known.seen_at < stay.seen_at:
                newest[stay.device_id] = stay
    for device_id, stay in newest.items():
        entry = denied[device_id]
        yield Finding(
            kind=DENIED_DEVICE,
            subject=device_id,
            noun="device",
            text=f"is {entry.word}, and node {stay.node_id} served it after that",
            at=stay.seen_at,
            severity=Severity.CRITICAL,
            evidence={
                "node": stay.node_id,
                "address": str(stay.address),
                "since": rfc3339(entry.since),
                "seen": rfc3339(stay.seen_at),
            },
        )


def distance_km(one: Place, other: Place) -> float:
    """Return the way along the ground, by the haversine formula."""
    latitude1, latitude2 = math.radians(one.latitude), math.radians(other.latitude)
    half = math.sin((latitude2 - latitude1) / 2) ** 2
    half += math.cos(latitude1) * math.cos(latitude2) * math.sin(math.radians(other.longitude - one.longitude) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


def _by_device(stays: Iterable[Stay]) -> Iterator[tuple[DeviceId, Sequence[Stay]]]:
    grouped: dict[DeviceId, list[Stay]] = defaultdict(list)
    for stay in stays:
        grouped[stay.device_id].append(stay)
    for device_id, of_device in grouped.items():
        of_device.sort(key=lambda stay: (stay.opened_at, stay.seen_at))
        yield device_id, of_device


def _differ(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] == other[0] and one[1] != other[1]


def _span(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
