"""How the fleet does right now, for open pages: worked out once for all of them, and only while one is open.

Counts are of the record, figures of what nodes tell. Whoever listens hears of what has changed, at most once a second.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

import attrs
import trio

from pharos.helm.errors import BusyError, DatabaseCorruptError
from pharos.helm.live.board import Board, Sighting, now_us
from pharos.helm.live.hub import Hub
from pharos.helm.store.database import Store
from pharos.helm.store.views.pulse import Flow, Reading, Tallies, read_pulse, read_tallies
from pharos.helm.telemetry.readings import GAP_AFTER, READ_EVERY
from pharos.wire.ids import NodeId
from pharos.wire.link import LinkState
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

Json = dict[str, Any]

EVERY: Final = 1 * SECONDS
# Sessions end by silence, devices expire by the calendar: nothing is written then.
LOOK_AGAIN: Final = 5 * SECONDS
TALLY_AGAIN: Final = 60 * SECONDS
# 96 pixels are ten minutes of readings.
POINTS: Final = 20
_HISTORY: Final = round((POINTS + 1) * READ_EVERY * 1_000_000)
"""Microseconds."""


@attrs.frozen(kw_only=True)
class Picture:
    """Counts and figures as they stand; JSON."""

    counts: Json = attrs.field(factory=dict)
    figures: Json = attrs.field(factory=dict)


class Pulse:
    """Keeps what was worked out last; ``run`` tells whoever listens of what changes."""

    def __init__(self, store: Store, board: Board, hub: Hub, clock: Callable[[], int] = now_us) -> None:
        self._store = store
        self._board = board
        self._hub = hub
        self._clock = clock
        self._turn = trio.Lock()
        self._taken = Picture()
        self._taken_at = -math.inf
        self._tallies = Tallies()
        self._tallied = (-1, -math.inf)
        """As of which commit, and when."""
        self._reading = Reading()
        self._read = (-1, -math.inf)
        self._flows: dict[NodeId, deque[Flow]] = {}
        self._told = Picture()

    async def take(self) -> Picture:
        """Return how things stand, not more than a second old.

        Raises: BusyError, DatabaseCorruptError.
        """
        async with self._turn:
            if trio.current_time() - self._taken_at >= EVERY:
                await self._look()
            return self._taken

    async def run(self) -> NoReturn:
        """Tell whoever listens of what changes, until cancelled."""
        while True:
            await self._hub.wait_listened()
            try:
                picture = await self.take()
            except (BusyError, DatabaseCorruptError) as error:
                log.debug("the fleet is counted later: %s", error)
            else:
                self._tell(picture)
            await trio.sleep(EVERY)

    def _tell(self, picture: Picture) -> None:
        counts = picture.counts if picture.counts != self._told.counts else None
        self._hub.push(figures=changed_figures(self._told.figures, picture.figures), counts=counts)
        self._told = picture

    async def _look(self) -> None:
        now, started = self._clock(), trio.current_time()
        if _due(self._tallied, self._store.commits, started, TALLY_AGAIN):
            commits = self._store.commits
            self._tallies = await self._store.read(read_tallies, now)
            self._tallied = (commits, started)
        if _due(self._read, self._store.telemetry.commits, started, LOOK_AGAIN):
            self._read = (self._store.telemetry.commits, started)
            await self._listen(now)
        self._taken = Picture(
            counts=count(self._tallies, self._reading),
            figures=figure(self._tallies, self._reading, self._flows, self._board, now=now),
        )
        self._taken_at = started

    async def _listen(self, now: int) -> None:
        newest = {node_id: flows[-1].at for node_id, flows in self._flows.items()}
        try:
            self._reading = await self._store.read_telemetry(read_pulse, newest, now=now, since=now - _HISTORY)
        except (BusyError, DatabaseCorruptError) as error:
            # A page without figures is a page still; who writes them says why that failed.
            log.debug("the fleet's figures stay as they were: %s", error)
            return
        for node_id, flows in self._reading.flows.items():
            self._flows.setdefault(node_id, deque(maxlen=POINTS)).extend(flows)
        for node_id in self._flows.keys() - self._tallies.nodes:
            del self._flows[node_id]


def _due(last: tuple[int, float], commits: int, now: float, again: float) -> bool:
    return last[0] != commits or now - last[1] >= again


def count(tallies: Tallies, reading: Reading) -> Json:
    """Return what there is of everything; by device, status as `pharos.helm.web.views.devices` has it."""
    here = {device_id for _, device_id in reading.live}
    return {
        "devices": {
            "all": tallies.devices,
            "online": len(here - tallies.kept_out),
            "disabled": tallies.disabled,
            "revoked": tallies.revoked,
            "stale": len(tallies.stale - here),
        },
        "profiles": dict(tallies.profiles),
        "sessions": len(reading.live),
        **tallies.others,
    }


def figure(tallies: Tallies, reading: Reading, flows: Mapping[NodeId, deque[Flow]], board: Board, *, now: int) -> Json:
    """Return what every node carries, and the fleet; what nobody knows is None."""
    sessions, seen = Counter(node_id for node_id, _ in reading.live), board.seen()
    recent = {node_id: of[-1] for node_id, of in flows.items() if of and now - of[-1].at <= GAP_AFTER}
    nodes = {
        node_id: _node_figures(sessions[node_id], seen.get(node_id), recent.get(node_id), flows.get(node_id, ()))
        for node_id in sorted(tallies.nodes)
    }
    reality = _sum(flow.reality_down for flow in recent.values())
    told = _sum(flow.down for flow in recent.values() if flow.reality_down is not None)
    return {
        "nodes": nodes,
        "fleet": {
            "sessions": len(reading.live),
            "down": _sum(flow.down for flow in recent.values()),
            "up": _sum(flow.up for flow in recent.values()),
            "handshakes_per_min": reading.handshakes,
            "down_by": {
                "amneziawg": None if told is None or reality is None else max(told - reality, 0),
                "reality": reality,
            },
        },
    }


def _node_figures(sessions: int, sighting: Sighting | None, flow: Flow | None, flows: Iterable[Flow]) -> Json:
    machine = sighting.machine if sighting is not None and sighting.state is LinkState.UP else None
    return {
        "sessions": sessions,
        "peers": None if sighting is None else sighting.peers,
        "down": None if flow is None else flow.down,
        "up": None if flow is None else flow.up,
        "load": None if machine is None else round(machine.load, 2),
        "latency_ms": None if flow is None else round(flow.latency / 1_000, 1),
        "spark": [one.down + one.up for one in flows if one.down is not None and one.up is not None],
    }


def changed_figures(before: Json, after: Json) -> Json | None:
    """Return what of figures has changed: nodes each whole, the fleet whole; None where nothing has."""
    if before == after:
        return None
    told = before.get("nodes", {})
    nodes = {node_id: node for node_id, node in after["nodes"].items() if told.get(node_id) != node}
    return {"nodes": nodes, "fleet": after["fleet"]}


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
