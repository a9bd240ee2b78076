"""What a row of the audit or of the events says to a log system, whichever way it goes there. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from pharos.helm.audit.chain import AuditRow
from pharos.helm.model.sinks import Source
from pharos.helm.store.times import rfc3339

# Names and ids have some 60 characters; of what a stranger could make longer, so much is enough to find it.
MAX_FIELD: Final = 256
# A detail is a sentence. A node that sends a megabyte is told of by the first part of it.
MAX_DETAIL: Final = 4_000
_INFORMATIONAL, _NOTICE, _WARNING = 6, 5, 4
"""Severities of RFC 5424 §6.2.1."""
GAP: Final = "siem_gap"
"""Rows were removed before this sink was told of them, or cannot be read."""
ANEW: Final = "siem_numbered_anew"
"""The table was emptied or replaced: its numbers begin again, and what was missed nobody can say."""
TEST: Final = "siem_test"

_WARNINGS: Final = ("_refused", "_failed", "_conflict", GAP, ANEW)
_NOTICES: Final = ("_revoked", "_removed", "_disabled", "_raised", "_withdrawn", "_restored", "_rotated")
# Both say that a node, or helm, lost events.
_WARNING_EVENTS: Final = frozenset({"dropped", "gap"})


@attrs.frozen(kw_only=True)
class Record:
    """One thing that happened."""

    id: str
    """The same whenever it is sent again, so that a receiver can tell."""
    source: Source
    sequence: int
    """Of its row."""
    at: int
    """Microseconds since 1970: helm's clock for the audit, the node's for events."""
    received_at: int
    """When helm wrote it down."""
    name: str
    """``device_revoked``, ``handshake``."""
    severity: int
    """RFC 5424's: 6 is informational, 5 a notice, 4 a warning."""
    fields: Mapping[str, str | int]
    """What else is known, by short names; nothing that is empty."""
    text: str
    """The detail, for people; any characters, at most `MAX_DETAIL` of them."""

    def as_json(self) -> dict[str, object]:
        """Return it as one flat document."""
        return {
            "id": self.id,
            "source": self.source.value,
            "sequence": self.sequence,
            "at": rfc3339(self.at),
            "received_at": rfc3339(self.received_at),
            "name": self.name,
            "severity": SEVERITIES[self.severity],
            **self.fields,
            "detail": self.text,
        }


SEVERITIES: Final = {_WARNING: "warning", _NOTICE: "notice", _INFORMATIONAL: "info"}


@attrs.frozen(kw_only=True)
class EventRow:
    """A row of the events table."""

    sequence: int
    at: int
    received_at: int
    kind: str
    node_id: str
    device_id: str
    detail: str


def of_audit(fleet: str, row: AuditRow) -> Record:
    """Return what an audit row says."""
    fields: dict[str, str | int] = {
        "actor": row.actor,
        "via": row.via,
        "noun": row.noun,
        "subject": row.subject,
        "version": row.version,
    }
    fields["hash"] = _hex(row.hash)
    return _record(fleet, Source.AUDIT, row.sequence, row.at, row.at, row.verb, fields, row.detail)


def of_event(fleet: str, row: EventRow, names: Mapping[str, str]) -> Record:
    """Return what a node's event says; ``names`` are those of nodes and devices by id, as far as they are known."""
    fields = {
        "node": row.node_id,
        "node_name": names.get(row.node_id, ""),
        "device": row.device_id,
        "device_name": names.get(row.device_id, ""),
    }
    return _record(fleet, Source.EVENTS, row.sequence, row.at, row.received_at, row.kind, fields, row.detail)


def of_gap(fleet: str, source: Source, first: int, last: int, *, at: int) -> Record:
    """Return what says that rows ``first`` to ``last`` are not told of."""
    text = f"rows {first} to {last} of {source.value} were removed, or cannot be read, and were never sent"
    return _record(fleet, source, last, at, at, GAP, {"first": first, "last": last, "count": last - first + 1}, text)


def of_new_numbers(fleet: str, source: Source, told: int, *, at: int) -> Record:
    """Return what says that a table's numbers began anew after row ``told`` had been sent."""
    text = f"the numbers of {source.value} began anew after row {told}; what was removed in between was never sent"
    return _record(fleet, source, told, at, at, ANEW, {"last": told}, text)


def of_test(fleet: str, actor: str, *, at: int) -> Record:
    """Return what an admin sends to see whether it arrives."""
    return _record(fleet, Source.AUDIT, 0, at, at, TEST, {"actor": actor}, "a test: this sink can be reached")


def _record(
    fleet: str,
    source: Source,
    sequence: int,
    at: int,
    received_at: int,
    name: str,
    fields: Mapping[str, str | int],
    text: object,
) -> Record:
    # Whoever can write the databases can put any type into any column; what helm itself writes passes as it is.
    sequence, at, received_at = (value if type(value) is int else 0 for value in (sequence, at, received_at))
    said = {key: _clipped(value, MAX_FIELD) if isinstance(value, str) else value for key, value in fields.items()}
    kept = {key: value for key, value in said.items() if value not in ("", 0) and type(value) in (str, int)}
    whole = str(text)
    if len(whole) > MAX_DETAIL:
        kept["detail_length"] = len(whole)
    named = _clipped(str(name), MAX_FIELD)
    return Record(
        id=f"{fleet}/{source.value}/{sequence}/{received_at}{'/' + named if named in (GAP, ANEW, TEST) else ''}",
        source=source,
        sequence=sequence,
        at=_timely(at),
        received_at=_timely(received_at),
        name=named,
        severity=_severity(source, named),
        fields={"fleet": fleet, **kept},
        text=_clipped(whole, MAX_DETAIL),
    )


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else ""


# The year 9999: a node's clock can say anything, and RFC 3339 has four digits.
_LAST: Final = 253_402_300_799_000_000


def _timely(at: int) -> int:
    return min(max(at, 0), _LAST)


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _severity(source: Source, name: str) -> int:
    if name.endswith(_WARNINGS) or (source is Source.EVENTS and name in _WARNING_EVENTS):
        return _WARNING
    return _NOTICE if name.endswith(_NOTICES) else _INFORMATIONAL
