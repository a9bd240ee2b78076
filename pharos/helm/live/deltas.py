"""What the live feed says: changes of the record as deltas, and passing events; each encoded once for everybody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from pharos.helm.store.outbox import Entry
from pharos.helm.store.times import rfc3339

Nouns: TypeAlias = frozenset[str] | None
"""Which nouns somebody may read: ``device``, ``node`` …; None for all, those that no role is named for included."""

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
    """Deltas and events that go out as one message; its text is made once for each set of nouns."""

    deltas: Sequence[Delta]
    events: Sequence[LiveEvent]
    sequence: int
    """Of the outbox: what this and all before it covers."""
    _texts: dict[Nouns, str | None] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.deltas) + len(self.events)

    def text_for(self, nouns: Nouns) -> str | None:
        """Return the message for whoever reads these nouns; None where there is nothing for them."""
        if nouns not in self._texts:
            self._texts[nouns] = self._message(nouns)
        return self._texts[nouns]

    def after(self, sequence: int) -> Batch:
        """Return the batch without the deltas up to ``sequence``."""
        if not self.deltas or self.deltas[0].sequence > sequence:
            return self
        return Batch([delta for delta in self.deltas if delta.sequence > sequence], self.events, self.sequence)

    def _message(self, nouns: Nouns) -> str | None:
        deltas = ",".join(delta.text for delta in self.deltas if nouns is None or delta.noun in nouns)
        events = ",".join(_encode(event.as_json()).decode() for event in self.events)
        if not deltas and not events:
            return None
        parts = [f'"deltas":[{deltas}]'] if deltas else []
        if events:
            parts.append(f'"events":[{events}]')
        return f'{{"sequence":{self.sequence},{",".join(parts)}}}'


def coalesce(batches: Iterable[Batch]) -> Batch:
    """Return one batch for several: of each record the newest state, with the sequence that made it; all events."""
    kept: dict[object, Delta] = {}
    events: list[LiveEvent] = []
    sequence = 0
    for batch in batches:
        for delta in batch.deltas:
            key = delta.key or delta.sequence
            # Taken out first, so that the newest also stands last: sequences go up in every message.
            kept.pop(key, None)
            kept[key] = delta
        events += batch.events
        sequence = max(sequence, batch.sequence)
    return Batch(list(kept.values()), events, sequence)
