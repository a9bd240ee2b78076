"""What of helm's orders is served at this moment, and why other peers are not. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import attrs

from pharos.buoy.quota import QuotaMeter
from pharos.wire.desired import Desired, Peer, PreviousEndpoint, Push
from pharos.wire.ids import DeviceId
from pharos.wire.pki.denylist import DenyList
from pharos.wire.pki.roles import Role
from pharos.wire.units import MINUTES, SECONDS

EXPIRED: Final = "expired"
QUOTA: Final = "quota"
REVOKED: Final = "revoked"

# A wall clock that was set forward is noticed so late at most.
LOOK_EVERY: Final = 1 * MINUTES
# At 1 Gbit/s a peer gets 125 MB beyond its quota before it is cut.
COUNT_EVERY: Final = 1 * SECONDS
_MICROSECONDS: Final = 1_000_000


def reasons_to_cut(peers: Mapping[DeviceId, Peer], *, now: int, meter: QuotaMeter) -> dict[DeviceId, str]:
    """Return the peers that are not served, and why. ``now`` is in microseconds since 1970."""
    reasons: dict[DeviceId, str] = {}
    for device_id, peer in peers.items():
        if 0 < peer.expires_at <= now:
            reasons[device_id] = EXPIRED
        elif meter.is_over(peer) and not _throttle(peer):
            reasons[device_id] = QUOTA
    return reasons


def slowed_now(peers: Mapping[DeviceId, Peer], *, meter: QuotaMeter) -> frozenset[DeviceId]:
    """Return the peers that are served at the rate for those who have used up their quota."""
    return frozenset(device_id for device_id, peer in peers.items() if meter.is_over(peer) and _throttle(peer))


def _throttle(peer: Peer) -> int:
    return 0 if peer.quota is None else peer.quota.throttle


def previous_now(desired: Desired, *, now: int) -> tuple[PreviousEndpoint, ...]:
    """Return the replaced parameters whose time is not over. ``now`` is in microseconds since 1970."""
    return tuple(endpoint for endpoint in desired.previous if endpoint.until > now)


def served(
    desired: Desired, reasons: Mapping[DeviceId, str], *, now: int, slowed: Collection[DeviceId] = ()
) -> Desired:
    """Return what the engines are to serve: all but peers that there is a reason to cut, and endpoints that are over.

    Those in ``slowed`` have the lower of their two rates. ``now`` is in microseconds since 1970.
    """
    previous = previous_now(desired, now=now)
    if len(previous) < len(desired.previous):
        desired = attrs.evolve(desired, previous=previous)
    if not reasons and not slowed:
        return desired
    peers = {
        device_id: peer.slowed if device_id in slowed else peer
        for device_id, peer in desired.peers.items()
        if device_id not in reasons
    }
    return attrs.evolve(desired, peers=peers)


def patience(desired: Desired, *, now: int) -> float:
    """Return in how many seconds to look again. ``now`` is in microseconds since 1970."""
    wait = LOOK_EVERY
    for endpoint in previous_now(desired, now=now):
        wait = min(wait, (endpoint.until - now) / _MICROSECONDS)
    for peer in desired.peers.values():
        if peer.expires_at > now:
            wait = min(wait, (peer.expires_at - now) / _MICROSECONDS)
        if peer.quota is not None:
            wait = min(wait, COUNT_EVERY)
    return wait


def is_denied(deny_list: DenyList | None, peer: Peer) -> bool:
    """Whether the fleet has revoked this device or its AmneziaWG key."""
    if deny_list is None:
        return False
    return deny_list.denies_member(Role.DEVICE, peer.device_id) or deny_list.denies_tunnel_key(peer.awg_key)


def without_denied(push: Push, deny_list: DenyList | None) -> Push:
    """Return a push that removes whom it would bring in although they are denied."""
    denied = tuple(peer.device_id for peer in push.upsert if is_denied(deny_list, peer))
    if not denied:
        return push
    upsert = tuple(peer for peer in push.upsert if peer.device_id not in denied)
    return attrs.evolve(push, upsert=upsert, remove=push.remove + denied)
