"""Entries, deltas and messages of the live feed, to test with."""

from __future__ import annotations

import json
from typing import Any

import trio

from pharos.helm.live.deltas import Batch, Delta, delta_of
from pharos.helm.live.subscriber import Subscriber
from pharos.helm.store.outbox import Entry


def entry(sequence: int, **facts: Any) -> Entry:
    """An entry of the outbox: a change of user ``u``, as number ``sequence``."""
    usual: dict[str, Any] = {
        "at": 1_800_000_000_000_000 + sequence,
        "kind": "user_changed",
        "subject": "u",
        "actor": "ada",
        "detail": "note",
        "noun": "user",
        "version": sequence,
        "body": f'{{"id":"u","version":{sequence}}}',
    }
    return Entry(sequence=sequence, **(usual | facts))


def delta(sequence: int, **facts: Any) -> Delta:
    """The same as a delta."""
    return delta_of(entry(sequence, **facts))


def batch(*sequences: int, **facts: Any) -> Batch:
    """Deltas of user ``u``."""
    return Batch([delta(sequence, **facts) for sequence in sequences], (), sequences[-1])


async def message(subscriber: Subscriber) -> dict[str, Any]:
    """The next message, read."""
    with trio.fail_after(5):
        ready = await subscriber.receive()
    assert isinstance(ready, str), ready
    read: dict[str, Any] = json.loads(ready)
    return read


def sequences(message: dict[str, Any]) -> list[int]:
    """Of its deltas."""
    return [delta["seq"] for delta in message.get("deltas", [])]
