"""What is delivered when: a pure look at what waits, at who is muted, and at the clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs

from pharos.helm.model.alerts import AlertMute, AlertState, AlertTarget, News
from pharos.helm.store.deliveries import Pending

# A node that falls takes others along, and what happens within this time is one message. Microseconds, as all here.
GATHER: Final = 2_000_000
# A service that restarts is back within seconds; one that is gone is asked once a day, until somebody removes it.
FIRST_DELAY: Final = 15_000_000
LONGEST_DELAY: Final = 86_400_000_000


@attrs.frozen(kw_only=True)
class Batch:
    """What one target is told in one message."""

    target: AlertTarget
    items: Sequence[Pending]


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be done now."""

    batches: Sequence[Batch] = ()
    muted: Sequence[str] = ()
    """Ids of deliveries that nobody needs any more: it was over before anybody was told."""
    next_at: int | None = None
    """When something is due of which nobody tells; None: nothing."""


def plan_deliveries(
    pending: Mapping[str, Sequence[Pending]],
    targets: Iterable[AlertTarget],
    mutes: Collection[AlertMute],
    *,
    busy: Collection[str] = (),
    now: int,
) -> Plan:
    """Return what to do with what waits for each target, by its id; ``busy`` are those that are being told right now.

    As soon as one thing is due at a target, all that waits for it goes along.
    """
    batches: list[Batch] = []
    muted: list[str] = []
    times = [mute.until_at for mute in mutes if mute.until_at > now]
    for target in targets:
        if not target.enabled or target.id in busy:
            continue
        items, needless = _without_muted(pending.get(target.id, ()), mutes, now)
        muted += needless
        times_here = [_due_at(item, now) for item in items]
        if not times_here:
            continue
        if min(times_here) <= now:
            batches.append(Batch(target=target, items=items))
        else:
            times.append(min(times_here))
    return Plan(batches=batches, muted=muted, next_at=min(times, default=None))


def retry_at(attempts: int, *, now: int, random: float) -> int:
    """Return when to try again after so many tries: twice as late each time, a day at most, half of it by chance.

    ``random`` is in [0, 1): targets that one outage has struck do not all come back at once.
    """
    delay = min(FIRST_DELAY << min(attempts, 32), LONGEST_DELAY)
    return now + delay // 2 + int(delay // 2 * random)


def _without_muted(
    waiting: Sequence[Pending], mutes: Collection[AlertMute], now: int
) -> tuple[list[Pending], list[str]]:
    """Return what may be told now, and the ids of what need not be told at all."""
    items: list[Pending] = []
    needless: list[str] = []
    news = {item.alert.id for item in waiting if item.delivery.what is not News.RESOLVED}
    for item in waiting:
        if any(mute.covers(item.alert, now) for mute in mutes):
            if item.alert.state is AlertState.RESOLVED:
                needless.append(item.delivery.id)
        elif item.delivery.what is News.RESOLVED and not item.told and item.alert.id not in news:
            # That it stood was muted.
            needless.append(item.delivery.id)
        else:
            items.append(item)
    return items, needless


def _due_at(item: Pending, now: int) -> int:
    delivery = item.delivery
    at = delivery.next_try_at if delivery.attempts else delivery.queued_at + GATHER
    # A clock that was set back must not put it off for longer than a try ever is.
    return now if at > now + LONGEST_DELAY else at
