"""The live feed over WebSocket: where things stand, and from there on what happens (docs/guide/live.md).

GET /api/v1/live?since=SEQUENCE&epoch=EPOCH&snapshot=brief
"""

from __future__ import annotations

import enum
import json
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs
import trio
from quart import Blueprint, websocket

from pharos.helm.context import HelmContext
from pharos.helm.errors import BusyError, InvalidRequestError, NotAllowedError, NotSignedInError
from pharos.helm.live.board import now_us
from pharos.helm.live.deltas import Batch, Nouns, readable_counts
from pharos.helm.live.replay import Reach, Seen, find_reach, read_replay
from pharos.helm.live.subscriber import Ending, Gap, Resync, Subscriber
from pharos.helm.model.admins import Principal, Role
from pharos.helm.store.admins import check_principal
from pharos.helm.web.acting import principal
from pharos.helm.web.firstword import UNPROVEN, wait_proven
from pharos.helm.web.resources import API, Resource
from pharos.helm.web.status import sighting_json, take_brief, take_picture
from pharos.wire.units import SECONDS
from pharos.wire.world import in_thread

# Ten people with 20 tabs each. A full queue is some 16 kB of list, so all of them are 3 MB.
MAX_OPEN: Final = 200
MAX_PER_SESSION: Final = 20
# Each look is one SELECT: of 200 feeds, 13 a second. It is also how long somebody who signed out goes on hearing.
RECHECK: Final = 15 * SECONDS
# A picture of 10,000 devices takes a tenth of a second, so nobody gets them faster than this.
SNAPSHOT_INTERVAL: Final = 1 * SECONDS
# Links and counters of the picture move without an event; older than this it is taken anew.
SNAPSHOT_AGE: Final = 1 * SECONDS
# RFC 6455 §7.4.1 and the registry it began; those from 4000 on are our own (§7.4.2).
UNSUPPORTED_DATA: Final = 1003
POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013
SIGNED_OUT: Final = 4401
ROLE_CHANGED: Final = 4403
RESYNC: Final = "resync"


class Shown(enum.Enum):
    """Which picture a feed begins with."""

    WHOLE = "yes"
    BRIEF = "brief"
    """Without devices, but with counts and figures, which are then told of as they change."""
    NONE = "no"


_MOST: Final = 2**63 - 1


def make_live_blueprint(context: HelmContext, resources: tuple[Resource[Any], ...]) -> Blueprint:
    """Serve the feed, to each role what it may read of ``resources``."""
    blueprint = Blueprint("live", __name__)
    nouns = {role: _nouns_of(role, resources) for role in Role}
    seats = _Seats()
    pictures = _Pictures(context)

    @blueprint.websocket(f"{API}/live")
    async def live() -> None:
        who = principal()
        seen, shown = _read_query()
        with seats.taken(who):
            await websocket.accept()
            if not await wait_proven():
                await websocket.close(UNPROVEN, "the first thing to say here is the csrf of GET /api/v1/session")
                return
            opening = context.hub.open_subscriber(nouns[who.role], figures=shown is Shown.BRIEF)
            async with opening as subscriber, trio.open_nursery() as nursery:
                nursery.start_soon(_listen, subscriber)
                nursery.start_soon(_recheck, context, who, subscriber)
                feed = _Feed(context, subscriber, shown, pictures)
                try:
                    ending = await feed.run(seen)
                except BusyError as error:
                    ending = Ending(TRY_AGAIN_LATER, str(error))
                await websocket.close(ending.code, ending.reason)
                nursery.cancel_scope.cancel()

    return blueprint


@attrs.define
class _Feed:
    """What one WebSocket is sent. Everything is sent from here, so that nothing is ever cut in the middle."""

    context: HelmContext
    subscriber: Subscriber
    shown: Shown
    pictures: _Pictures
    _pictured_at: float = attrs.field(default=-math.inf, init=False)

    async def run(self, seen: Seen | None) -> Ending:
        """Send until there is a reason to end it."""
        # The subscriber is there already, so no change falls between what is read now and what it queues.
        reach = await self.context.store.read(find_reach, seen)
        if seen is None:
            await self._begin(reach)
        elif reach.gap is not None:
            await self._send_gap(reach.gap)
        else:
            await self._send_links(reach.epoch, seen.sequence)
            await self._replay(seen.sequence, reach.last)
            await self._send_figures(reach.last)
        while True:
            ready = await self.subscriber.receive()
            if isinstance(ready, Ending):
                return ready
            if isinstance(ready, Gap):
                await self._send_gap(ready)
            elif isinstance(ready, Resync):
                await self._begin(await self.context.store.read(find_reach, None))
            else:
                await websocket.send(ready)

    async def _send_gap(self, gap: Gap) -> None:
        await websocket.send(json.dumps({"gap": {"from": gap.first, "to": gap.last}}))
        await self._begin(await self.context.store.read(find_reach, None))

    async def _begin(self, reach: Reach) -> None:
        """Send where things stand; from there on deltas follow."""
        if self.shown is Shown.NONE:
            self.subscriber.skip(reach.last)
            await self._send_links(reach.epoch, reach.last)
            return
        await trio.sleep_until(self._pictured_at + SNAPSHOT_INTERVAL)
        taken = await self.pictures.take(self.shown, self.subscriber.nouns)
        self._pictured_at = trio.current_time()
        self.subscriber.skip(taken.sequence)
        await websocket.send(taken.text)

    async def _send_links(self, epoch: int, sequence: int) -> None:
        links = {member: sighting_json(sighting) for member, sighting in self.context.board.seen().items()}
        await websocket.send(json.dumps({"links": links, "sequence": sequence, "epoch": epoch}))

    async def _send_figures(self, sequence: int) -> None:
        """Send figures and counts whole: those that were told meanwhile are not kept."""
        if self.subscriber.figures:
            pulse = await self.context.pulse.take()
            batch = Batch((), (), sequence, pulse.figures, pulse.counts)
            text = batch.text_for(self.subscriber.nouns, figures=True)
            assert text is not None, "there are figures in it"
            await websocket.send(text)

    async def _replay(self, after: int, last: int) -> None:
        while after < last:
            after, text = await self.context.store.read(read_replay, after, last, self.subscriber.nouns)
            if text is not None:
                await websocket.send(text)
        self.subscriber.skip(last)


@attrs.frozen
class _Taken:
    sequence: int
    text: str = attrs.field(repr=False)


class _Pictures:
    """The picture as a message; those who want it at the same time, and may read the same, get the same one."""

    def __init__(self, context: HelmContext) -> None:
        self._context = context
        self._turns = {Shown.WHOLE: trio.Lock(), Shown.BRIEF: trio.Lock()}
        self._kept: dict[tuple[Shown, Nouns], tuple[int, float, _Taken]] = {}
        """With the hub's position for which it was taken, and when."""

    async def take(self, shown: Shown, nouns: Nouns) -> _Taken:
        """Return a picture that lacks nothing which was handed out before."""
        # All may read what is in the whole one.
        key = (shown, nouns if shown is Shown.BRIEF else None)
        async with self._turns[shown]:
            position, taken_at, taken = self._kept.get(key, (-1, -math.inf, None))
            fresh = trio.current_time() - taken_at < SNAPSHOT_AGE
            if taken is None or position != self._context.hub.position or not fresh:
                position, taken_at = self._context.hub.position, trio.current_time()
                taken = await (self._take_brief(nouns) if shown is Shown.BRIEF else self._take_whole())
                self._kept[key] = (position, taken_at, taken)
            return taken

    async def _take_whole(self) -> _Taken:
        picture = await take_picture(self._context)
        message = {"snapshot": picture.body, "sequence": picture.sequence, "epoch": picture.epoch}
        return _Taken(picture.sequence, await in_thread(json.dumps, message))

    async def _take_brief(self, nouns: Nouns) -> _Taken:
        brief = await take_brief(self._context)
        snapshot = brief.body | {"counts": readable_counts(brief.counts, nouns)}
        message = {"snapshot": snapshot, "sequence": brief.sequence, "epoch": brief.epoch}
        return _Taken(brief.sequence, await in_thread(json.dumps, message))


class _Seats:
    """How many feeds are open, in all and for each session."""

    def __init__(self) -> None:
        self._open: Counter[bytes] = Counter()

    @contextmanager
    def taken(self, who: Principal) -> Iterator[None]:
        """Take one seat while the block lasts.

        Raises: BusyError — all are taken, or all that one session gets.
        """
        if who.credential and self._open[who.credential] >= MAX_PER_SESSION:
            raise BusyError(f"this session follows {MAX_PER_SESSION} live feeds already; close a few tabs")
        if self._open.total() >= MAX_OPEN:
            raise BusyError(f"{MAX_OPEN} live feeds are open; try again when one has ended")
        self._open[who.credential] += 1
        try:
            yield
        finally:
            self._open[who.credential] -= 1
            if not self._open[who.credential]:
                del self._open[who.credential]


async def _listen(subscriber: Subscriber) -> None:
    """Take what the page says; there is one thing to say."""
    while True:
        message = await websocket.receive()
        if message == RESYNC:
            subscriber.resync()
        elif isinstance(message, str):
            subscriber.end(POLICY_VIOLATION, f"the one thing to say here is {RESYNC}")
        else:
            subscriber.end(UNSUPPORTED_DATA, "this feed takes text")


async def _recheck(context: HelmContext, who: Principal, subscriber: Subscriber) -> None:
    """Look now and then whether whoever listens still may, and in the same role."""
    while True:
        await trio.sleep(RECHECK)
        try:
            role = await context.store.read(check_principal, who, Role.VIEWER, noun="live", at=now_us())
        except BusyError:
            # Nobody knows; the next look is soon.
            continue
        except NotSignedInError:
            subscriber.end(SIGNED_OUT, "this session has ended; sign in again")
        except NotAllowedError:
            subscriber.end(ROLE_CHANGED, "this session may not follow any more")
        else:
            if role is not who.role:
                subscriber.end(ROLE_CHANGED, f"the role is {role.value} now; connect again")


def _nouns_of(role: Role, resources: tuple[Resource[Any], ...]) -> Nouns:
    if role is Role.OWNER:
        return None
    return frozenset(resource.noun.kind for resource in resources if role.includes(resource.reads))


def _read_query() -> tuple[Seen | None, Shown]:
    since, epoch = websocket.args.get("since"), websocket.args.get("epoch")
    known = None if epoch is None else _number("epoch", epoch)
    seen = None if since is None else Seen(_number("since", since), known)
    wanted = websocket.args.get("snapshot", "yes")
    if wanted not in (shown.value for shown in Shown):
        raise InvalidRequestError("snapshot is yes, brief or no")
    return seen, Shown(wanted)


def _number(name: str, text: str) -> int:
    # More digits are no number of ours, and Python would refuse thousands of them in its own way.
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > _MOST:
        raise InvalidRequestError(f"{name} is a number that this feed gave")
    return int(text)
