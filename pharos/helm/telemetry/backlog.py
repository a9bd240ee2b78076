"""What waits to be written, within bounds: what counts most stays longest, and what is lost is counted."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from pharos.helm.model.telemetry import NodeEvent, NodeReading
from pharos.helm.telemetry.readings import SILENCE
from pharos.helm.telemetry.sessions import LIFE, VITAL
from pharos.wire.ids import NodeId

# Two seconds at the pace that is promised, 20,000 events a second; at some 300 bytes each 12 MB.
MOST_VITAL: Final = 40_000
MOST_OTHERS: Final = 5_000
# Four nodes that flood leave room for the rest of the fleet.
SHARE: Final = MOST_VITAL // 4
"""How many events of one node may wait."""


@attrs.frozen(kw_only=True)
class Batch:
    """What is written in one transaction."""

    events: list[NodeEvent]
    readings: list[NodeReading]
    dropped: Mapping[str, int]
    """Events that were lost since the batch before, by kind."""

    def __len__(self) -> int:
        return len(self.events) + len(self.readings)


class Backlog:
    """A queue that never waits: adding to a full one makes room by the rules below.

    Readings of a node coalesce. Of events that sessions are made of, handshakes without which the sessions are the same
    go first, then the oldest of all. One node has a share, so that its flood costs nobody else's events.
    """

    def __init__(self, *, most_vital: int = MOST_VITAL, most_others: int = MOST_OTHERS, share: int = SHARE) -> None:
        self._most_vital = most_vital
        self._most_others = most_others
        self._share = share
        self._vital: deque[NodeEvent] = deque()
        self._others: deque[NodeEvent] = deque()
        self._readings: dict[NodeId, NodeReading] = {}
        self._waiting: Counter[NodeId] = Counter()
        self._dropped: Counter[str] = Counter()
        self.dropped: Final[Counter[str]] = Counter()
        """All that was ever lost, by kind."""

    def __len__(self) -> int:
        return len(self._vital) + len(self._others) + len(self._readings)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not len(self) and not self._dropped

    def add_events(self, events: Iterable[NodeEvent]) -> None:
        """Add events in the order in which they came."""
        for event in events:
            if event.kind in VITAL:
                self._vital.append(event)
                self._waiting[event.node_id] += 1
                if self._waiting[event.node_id] > self._share:
                    self._thin(event.node_id, self._share)
            else:
                self._others.append(event)
                if len(self._others) > self._most_others:
                    self._drop(self._others.popleft())
        if len(self._vital) > self._most_vital:
            self._thin(None, self._most_vital)

    def add_reading(self, reading: NodeReading) -> None:
        """Add a reading; it and one that waits become one, for a newer one says nothing of what is as it was."""
        waiting = self._readings.get(reading.node_id)
        if waiting is not None:
            older, newer = (waiting, reading) if waiting.at < reading.at else (reading, waiting)
            reading = attrs.evolve(newer, peers={**older.peers, **newer.peers})
        self._readings[reading.node_id] = reading

    def take(self, size: int) -> Batch:
        """Take the oldest events, at most ``size``, and every reading."""
        taken = [self._vital.popleft() for _ in range(min(size, len(self._vital)))]
        for event in taken:
            self._forget(event.node_id)
        taken += [self._others.popleft() for _ in range(min(size - len(taken), len(self._others)))]
        batch = Batch(events=taken, readings=list(self._readings.values()), dropped=dict(self._dropped))
        self._readings.clear()
        self._dropped.clear()
        return batch

    def put_back(self, batch: Batch) -> None:
        """Return what could not be written, to be taken again."""
        newer = [*self._vital, *self._others]
        self._vital.clear()
        self._others.clear()
        self._waiting.clear()
        self._dropped.update(batch.dropped)
        self.add_events([*batch.events, *newer])
        for reading in batch.readings:
            self.add_reading(reading)

    def _thin(self, node_id: NodeId | None, limit: int) -> None:
        """Bring the events of a node, or of all, to three quarters of ``limit``, so that this is not done for each."""
        of_them = [event for event in self._vital if node_id is None or event.node_id == node_id]
        spare = len(of_them) - limit * 3 // 4
        gone = set(map(id, needless(of_them)[:spare]))
        gone |= set(map(id, [event for event in of_them if id(event) not in gone][: spare - len(gone)]))
        for event in of_them:
            if id(event) in gone:
                self._drop(event)
                self._forget(event.node_id)
        self._vital = deque(event for event in self._vital if id(event) not in gone)

    def _drop(self, event: NodeEvent) -> None:
        self._dropped[event.kind] += 1
        self.dropped[event.kind] += 1

    def _forget(self, node_id: NodeId) -> None:
        self._waiting[node_id] -= 1
        if not self._waiting[node_id]:
            del self._waiting[node_id]


def needless(events: Sequence[NodeEvent]) -> list[NodeEvent]:
    """Return the signs of life without which sessions are the same: others of the device stand near on both sides."""
    # By device at a node: the last sign that stays before the newest, and the newest.
    seen: dict[tuple[str, str | None], tuple[NodeEvent | None, NodeEvent]] = {}
    found = []
    for event in events:
        pair = (event.node_id, event.device_id)
        kept, last = seen.get(pair, (None, None))
        if last is None or last.kind not in LIFE or event.kind not in LIFE:
            kept = None
        elif kept is not None and kept.at <= last.at <= event.at <= kept.at + SILENCE:
            found.append(last)
        else:
            kept = last
        seen[pair] = (kept, event)
    return found
