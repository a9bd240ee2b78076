"""What helm sees of its nodes and relays right now; in memory only, for it is true only while helm looks."""

from __future__ import annotations

import attrs

from pharos.helm.live.hub import Hub
from pharos.wire.desired import Fence
from pharos.wire.link import LinkState
from pharos.wire.reports import EngineReport, MachineReport
from pharos.wire.world import wall_ns


@attrs.define(kw_only=True)
class Sighting:
    """One node or relay as seen."""

    name: str = ""
    state: LinkState = LinkState.CONNECTING
    since: int
    """Microseconds since 1970: when the state was last entered."""
    heard_at: int = 0
    """Microseconds since 1970: until when the link was up last; 0: never since helm started."""
    detail: str = ""
    applied: Fence = attrs.field(factory=Fence)
    """What is in force at a node by its word; the revision is the newest that it needed no other word for."""
    peers: int = 0
    unreachable: bool = False
    """Not heard of for three heartbeats."""
    skew: int = 0
    """Microseconds by which its clock is ahead of ours, as it said last."""
    accepted: int = 0
    """Passages through a relay that were confirmed since helm started."""
    refused: int = 0
    """Passages through a relay that helm turned down since then."""
    refusals: dict[str, int] = attrs.field(factory=dict)
    """The same by reason."""
    error: str = ""
    """What was wrong last: with the link, or with a passage."""
    error_at: int = 0
    """Microseconds since 1970."""
    version: str = ""
    """What it runs, by its own word."""
    engines: tuple[EngineReport, ...] = ()
    """What carries a node's protocols, as it said last."""
    machine: MachineReport | None = None


class Board:
    """Sightings by id; a change of a link is a live event."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._sightings: dict[str, Sighting] = {}

    def of(self, member_id: str) -> Sighting:
        """Return the sighting of a node or relay; a stranger is being connected to."""
        return self._sightings.setdefault(member_id, Sighting(since=now_us()))

    def report(self, member_id: str, name: str, state: LinkState, detail: str) -> None:
        """Note a change of a link."""
        sighting = self.of(member_id)
        sighting.name = name
        if state is LinkState.UP:
            sighting.unreachable = False
        # A lost link is redialled for as long as it takes; its page shows "lost", not each dial.
        if state is LinkState.CONNECTING and sighting.state in (LinkState.LOST, LinkState.CRASHED):
            return
        if state in (LinkState.LOST, LinkState.REFUSED, LinkState.CRASHED) and detail:
            sighting.error, sighting.error_at = detail, now_us()
        if (sighting.state, sighting.detail) != (state, detail):
            if sighting.state is not state:
                if sighting.state is LinkState.UP:
                    sighting.heard_at = now_us()
                sighting.since = now_us()
            sighting.state, sighting.detail = state, detail
            text = f"{name}: {detail}" if detail else name
            self._hub.publish(f"link_{state.value}", at=now_us(), node=member_id, text=text)

    def accept(self, relay_id: str) -> None:
        """Count a passage that was confirmed."""
        self.of(relay_id).accepted += 1

    def refuse(self, relay_id: str, why: str) -> None:
        """Count a passage that was turned down."""
        sighting = self.of(relay_id)
        sighting.refused += 1
        sighting.refusals[why] = sighting.refusals.get(why, 0) + 1
        sighting.error, sighting.error_at = why, now_us()

    def unreachable(self, member_id: str) -> None:
        """Note that a member has not been heard of for so long that somebody should look."""
        sighting = self.of(member_id)
        sighting.unreachable = True
        text = f"{sighting.name}: {sighting.detail}" if sighting.detail else sighting.name
        self._hub.publish("unreachable", at=now_us(), node=member_id, text=text)

    def hear(self, member_id: str, engines: tuple[EngineReport, ...], machine: MachineReport | None) -> None:
        """Note how a node's engines and its machine are; that an engine's trouble began or ended is a live event."""
        sighting = self.of(member_id)
        before = {engine.protocol for engine in sighting.engines if engine.trouble}
        for engine in engines:
            if engine.trouble and engine.protocol not in before:
                text = f"{sighting.name}: {engine.protocol} by {engine.driver}: {engine.trouble}"
                self._hub.publish("engine_trouble", at=now_us(), node=member_id, text=text)
            elif not engine.trouble and engine.protocol in before:
                text = f"{sighting.name}: {engine.protocol} by {engine.driver} is what was ordered"
                self._hub.publish("engine_mended", at=now_us(), node=member_id, text=text)
        sighting.engines, sighting.machine = engines, machine

    def seen(self) -> dict[str, Sighting]:
        """Return all sightings by id."""
        return dict(self._sightings)

    def forget(self, member_id: str) -> None:
        """Drop what was seen of a member that left the fleet."""
        self._sightings.pop(member_id, None)


def now_us() -> int:
    """Return the wall clock in microseconds since 1970."""
    return wall_ns() // 1000
