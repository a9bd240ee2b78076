"""What the live feed says: changes of the record as deltas, passing events, figures; encoded once for everybody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from pharos.helm.store.outbox import Entry
from pharos.helm.store.times import rfc3339

Nouns: TypeAlias = frozenset[str] | None
"""Which nouns somebody may read: ``device``, ``node`` …; None for all, those that no role is named for included."""

Json: TypeAlias = dict[str, Any]

_encode: Final = msgspec.json.Encoder().encode


@attrs.frozen(kw_only=True)
class LiveEvent:
    """Something that just happened and is in no record: a link went up, a device shook hands."""

    sequence: int
    """Of this run of helm; it is no sequence of the outbox."""
    at: int
    """Microseconds since 1970."""
    kind: str
    node: str | None = None
    """Id of a node or relay."""
    device: str | None = None
    name: str | None = None
    """The device's, as far as it is known."""
    text: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the event as pages read it."""
        return attrs.asdict(self) | {"at": rfc3339(self.at)}


@attrs.frozen(kw_only=True)
class Delta:
    """One change of the record."""

    sequence: int
    noun: str
    """Kind of record, as `Noun.kind` has it."""
    key: tuple[str, str] | None
    """Which record it leaves in a new state; None where it is no state of a record, and nothing can stand for it."""
    text: str = attrs.field(repr=False)
    """JSON."""


def delta_of(entry: Entry) -> Delta:
    """Return an entry as subscribers get it."""
    # Acts that are older than versioned records name their noun in the kind alone: ``device_enrolled``.
    noun = entry.noun or entry.kind.partition("_")[0]
    text = _encode(
        {
            "seq": entry.sequence,
            "at": rfc3339(entry.at),
            "kind": entry.kind,
            "noun": noun,
            "id": entry.subject,
            "version": entry.version,
            # The record is JSON already.
            "record": None if entry.body is None else msgspec.Raw(entry.body.encode()),
            "actor": entry.actor,
            "detail": entry.detail,
        }
    ).decode()
    key = (noun, entry.subject) if entry.noun and entry.version else None
    return Delta(sequence=entry.sequence, noun=noun, key=key, text=text)


@attrs.define(eq=False)
class Batch:
    """What goes out as one message; its text is made once for each set of nouns, with figures and without."""

    deltas: Sequence[Delta]
    events: Sequence[LiveEvent]
    sequence: int
    """Of the outbox: what this and all before it covers."""
    figures: Json | None = None
    """Those that have changed (docs/guide/live.md)."""
    counts: Json | None = None
    """All of them, where one has changed."""
    _texts: dict[tuple[Nouns, bool], str | None] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.deltas) + len(self.events) + (self.figures is not None) + (self.counts is not None)

    def text_for(self, nouns: Nouns, *, figures: bool = False) -> str | None:
        """Return the message for whoever reads these nouns; None where there is nothing for them."""
        if (nouns, figures) not in self._texts:
            self._texts[nouns, figures] = self._message(nouns, figures=figures)
        return self._texts[nouns, figures]

    def after(self, sequence: int) -> Batch:
        """Return the batch without the deltas up to ``sequence``."""
        if not self.deltas or self.deltas[0].sequence > sequence:
            return self
        deltas = [delta for delta in self.deltas if delta.sequence > sequence]
        return Batch(deltas, self.events, self.sequence, self.figures, self.counts)

    def _message(self, nouns: Nouns, *, figures: bool) -> str | None:
        deltas = ",".join(delta.text for delta in self.deltas if nouns is None or delta.noun in nouns)
        events = ",".join(_encode(event.as_json()).decode() for event in self.events)
        parts = [f'"deltas":[{deltas}]'] if deltas else []
        if events:
            parts.append(f'"events":[{events}]')
        if figures and self.figures is not None:
            parts.append(f'"figures":{_encode(self.figures).decode()}')
        if figures and self.counts is not None:
            parts.append(f'"counts":{_encode(readable_counts(self.counts, nouns)).decode()}')
        return f'{{"sequence":{self.sequence},{",".join(parts)}}}' if parts else None


# Sessions are no noun of the record; whoever may follow may read them.
_NOUN_OF_COUNT: Final = {
    "devices": "device",
    "users": "user",
    "groups": "group",
    "profiles": "profile",
    "alerts": "alert",
    "tickets": "ticket",
    "adoptions": "adoption",
    "admins": "admin",
}


def readable_counts(counts: Json, nouns: Nouns) -> Json:
    """Return the counts of what these nouns' reader may read."""
    return {
        name: count
        for name, count in counts.items()
        if nouns is None or name not in _NOUN_OF_COUNT or _NOUN_OF_COUNT[name] in nouns
    }


def join_figures(older: Json | None, newer: Json | None) -> Json | None:
    """Return what two messages' figures say together: of each node, and of the fleet, the newer."""
    if older is None or newer is None:
        return older or newer
    return {"nodes": older["nodes"] | newer["nodes"], "fleet": newer["fleet"]}


def coalesce(batches: Iterable[Batch]) -> Batch:
    """Return one batch for several: of each record the newest state, with the sequence that made it; all events.

    Of figures and counts the newest.
    """
    kept: dict[object, Delta] = {}
    events: list[LiveEvent] = []
    sequence = 0
    figures = counts = None
    for batch in batches:
        for delta in batch.deltas:
            key = delta.key or delta.sequence
            # Taken out first, so that the newest also stands last: sequences go up in every message.
            kept.pop(key, None)
            kept[key] = delta
        events += batch.events
        sequence = max(sequence, batch.sequence)
        figures = join_figures(figures, batch.figures)
        counts = batch.counts or counts
    return Batch(list(kept.values()), events, sequence, figures, counts)
