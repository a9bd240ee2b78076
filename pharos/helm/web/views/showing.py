"""What rows of every list have in common."""

from __future__ import annotations

from pharos.helm.store.times import rfc3339


def named(id_: str | None, name: str | None) -> dict[str, str] | None:
    """Return what a row says of another record; one that is no more goes by its id."""
    return None if id_ is None else {"id": id_, "name": name or id_}


def time_or_none(at: int | None) -> str | None:
    """Return a time as RFC 3339."""
    return None if at is None else rfc3339(at)
