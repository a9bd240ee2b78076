"""The chain over audit rows: each row's hash covers the one before it (security.md §2g). Sans-IO.

hash = SHA-256(`pharos/audit/v1` ‖ previous hash ‖ canonical row); the first row's previous hash is 32 zero octets.
A row's canonical form is a JSON array of all its values but the hash, in the order of `AuditRow`, without blanks, in
UTF-8, with no more escapes than JSON asks for (RFC 8785 §3.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import attrs
import msgspec

from pharos.helm.errors import AuditError

CONTEXT: Final = b"pharos/audit/v1"
GENESIS: Final = bytes(32)
"""What the first row of a fleet follows."""


class AuditRow(NamedTuple):
    """One management act. A plain tuple, for a year of them is verified at once."""

    sequence: int
    """1, 2, 3 …, without a gap."""
    at: int
    """Microseconds since 1970."""
    actor: str
    via: str
    verb: str
    noun: str
    """Of the record; empty where the act has none, such as a refused sign-in."""
    subject: str
    version: int
    """Of the record, after the act; 0 where the act has none."""
    detail: str
    hash: bytes
    """32 octets."""


@attrs.frozen
class Link:
    """A place in the chain: what the row after ``sequence`` follows."""

    sequence: int = 0
    hash: bytes = GENESIS


def row_hash(
    previous: bytes,
    sequence: int,
    at: int,
    actor: str,
    via: str,
    verb: str,
    noun: str,
    subject: str,
    version: int,
    detail: str,
) -> bytes:
    """Return the hash of a row that follows ``previous``."""
    return chained_hash(previous, (sequence, at, actor, via, verb, noun, subject, version, detail))


def chained_hash(previous: bytes, values: tuple[int | str | bytes, ...]) -> bytes:
    """Return the hash of a row by its values, all but the hash.

    Raises: TypeError, ValueError — a value is of a type that no row has.
    """
    # SQLite keeps any type in any column, and the encoder would write octets as the text of their base64.
    if [*map(type, values)] != _TYPES:
        raise TypeError("a value is of a type that no row has")
    return hashlib.sha256(CONTEXT + previous + _ENCODE(values)).digest()


_TYPES: Final = [int, int, str, str, str, str, str, int, str]
# Its spelling is that of the standard library's json, which takes six times as long (tests/helm/audit/test_chain.py).
_ENCODE: Final = msgspec.json.Encoder().encode


def verify_rows(rows: Iterable[AuditRow], anchor: Link, signed: Mapping[int, bytes] | None = None) -> Link:
    """Return the end of the chain that begins after ``anchor``, having checked every row.

    ``signed`` has the heads that checkpoints name, by sequence.

    Raises: AuditError — a row was changed, removed, added or moved; the message names the first that does not follow.
    """
    sequence, previous, heads = anchor.sequence, anchor.hash, signed or {}
    for row in rows:
        sequence += 1
        if row.sequence != sequence:
            raise AuditError(f"audit row {sequence} is missing; row {row.sequence!r} stands in its place")
        try:
            previous = chained_hash(previous, row[:-1])
        except (TypeError, ValueError):
            raise AuditError(f"audit row {sequence} was altered: it holds what helm never writes") from None
        if previous != row.hash:
            raise AuditError(f"audit row {sequence} does not follow from the rows before it: it was altered or added")
        if heads.get(sequence, previous) != previous:
            raise AuditError(
                f"audit row {sequence} is not the one that was signed: it, or rows before it, were written anew"
            )
    return Link(sequence, previous)
