"""Quotas in shares: what a device or a user has left is leased to nodes piece by piece, so that none spends it twice.

Every share is a lease with an id of its own, and a node counts from nothing when the id changes. A node that has used
most of its lease gets more, as long as there is some; when all is leased, it gets half of what the idlest node has
left. A node that cannot be reached keeps its lease meanwhile: that much can be spent twice, and no more.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import attrs

from pharos.helm.model.users import QuotaPeriod
from pharos.helm.store.leases import Share
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.units import MIB

# A quarter of what is free goes out at once, spread over all: what idle nodes hold stays small, and a busy one is
# given more long before it has spent its own.
PARTS: Final = 4
# Less is not worth a push; at 100 Mbit/s it is gone in 80 ms.
LEAST: Final = 1 * MIB

Place = tuple[DeviceId, NodeId]


@attrs.frozen(kw_only=True)
class Budget:
    """What a user's devices, or one device of nobody, may spend in a period."""

    places: Collection[Place]
    """Where: each device at each node that it may use."""
    period_at: int
    user: int | None = None
    """Of all devices together, octets; None: no limit but the devices' own."""
    devices: Mapping[DeviceId, int] = attrs.field(factory=dict)
    """Of single devices, octets."""

    def limits(self, device_id: DeviceId) -> bool:
        """Whether there is any limit for this device."""
        return self.user is not None or device_id in self.devices


def share_out(budget: Budget, shares: Sequence[Share], *, revision: int) -> list[Share]:
    """Return the shares that change; ``revision`` is the id of every new lease."""
    before = {(share.device_id, share.node_id): share for share in shares}
    ledger = _Ledger(budget, dict(before), revision)
    ledger.begin_period()
    ledger.take_back()
    ledger.shrink()
    for place in sorted(budget.places):
        if budget.limits(place[0]):
            ledger.serve(place)
    return [share for place, share in sorted(ledger.shares.items()) if share != before.get(place)]


@attrs.define
class _Ledger:
    budget: Budget
    shares: dict[Place, Share]
    revision: int

    def begin_period(self) -> None:
        """Forget what was spent in the period before."""
        for place, share in self.shares.items():
            if share.period_at != self.budget.period_at:
                self._renew(place, octets=0, spent=0)

    def take_back(self) -> None:
        """End the leases of places that are no more."""
        for place, share in self.shares.items():
            if place not in self.budget.places and share.octets:
                self._renew(place, octets=0, spent=share.spent + share.used)

    def shrink(self) -> None:
        """Cut the leases where a quota was lowered below what is out already."""
        for device_id in sorted({place[0] for place in self.shares}):
            free = self._free(device_id)
            own = [place for place, share in self.shares.items() if place[0] == device_id and share.rest]
            rest = sum(self.shares[place].rest for place in own)
            if free is None or free >= 0 or not rest:
                continue
            for place in own:
                share = self.shares[place]
                self._renew(place, octets=share.rest * max(rest + free, 0) // rest, spent=share.spent + share.used)

    def serve(self, place: Place) -> None:
        """Give a place its first lease, or more where it has used three quarters of what it has."""
        share = self.shares.get(place)
        if share is None:
            share = self.shares[place] = Share(
                device_id=place[0],
                node_id=place[1],
                lease=self.revision,
                octets=0,
                used=0,
                spent=0,
                period_at=self.budget.period_at,
            )
        if share.octets and share.used * 4 < share.octets * 3:
            return
        free = self._free(place[0])
        assert free is not None, "only what is limited is served"
        more = max(free // (PARTS * len(self.budget.places)), min(free, LEAST)) if free > 0 else self._borrow(place)
        if more > 0:
            self._renew(place, octets=share.rest + more, spent=share.spent + share.used)

    def _borrow(self, place: Place) -> int:
        """Take half of what the idlest place has left; of the same device, for another may have a limit of its own."""
        idle = [other for other in self.shares if other[0] == place[0] and other != place]
        richest = max(idle, key=lambda other: self.shares[other].rest, default=None)
        if richest is None or self.shares[richest].rest < 2 * LEAST:
            return 0
        share = self.shares[richest]
        half = share.rest // 2
        self._renew(richest, octets=share.rest - half, spent=share.spent + share.used)
        return half

    def _free(self, device_id: DeviceId) -> int | None:
        """Return what is neither spent nor leased, below zero where too much is; None: there is no limit."""
        free = []
        if self.budget.user is not None:
            free.append(self.budget.user - sum(map(_committed, self.shares.values())))
        if device_id in self.budget.devices:
            own = (share for place, share in self.shares.items() if place[0] == device_id)
            free.append(self.budget.devices[device_id] - sum(map(_committed, own)))
        return min(free, default=None)

    def _renew(self, place: Place, *, octets: int, spent: int) -> None:
        self.shares[place] = attrs.evolve(
            self.shares[place],
            lease=self.revision,
            octets=octets,
            used=0,
            spent=spent,
            period_at=self.budget.period_at,
        )


def _committed(share: Share) -> int:
    # A node that reports more than its lease has spent that much.
    return share.spent + max(share.octets, share.used)


def period_start(period: QuotaPeriod, at: int) -> int:
    """Return when the period that ``at`` is in began, in microseconds since 1970; days are those of UTC."""
    if period is QuotaPeriod.NEVER:
        return 0
    moment = datetime.datetime.fromtimestamp(at // 1_000_000, datetime.UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period is QuotaPeriod.WEEK:
        day -= datetime.timedelta(days=day.weekday())
    elif period is QuotaPeriod.MONTH:
        day = day.replace(day=1)
    return int(day.timestamp()) * 1_000_000
