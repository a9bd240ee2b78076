"""Records are listed by their ids, so the ids say in which order they came to be."""

from __future__ import annotations

import itertools

import pytest

from pharos.helm.store import ids


def test_ids_of_the_same_millisecond_sort_as_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(1_800_000_000_000_000_000, 1_000)
    monkeypatch.setattr("time.time_ns", lambda: next(ticks))
    made = [ids.fresh_id() for _ in range(3_000)]
    assert made == sorted(made)
    assert len({each[:13] for each in made}) == 3, "milliseconds"
    assert len(set(made)) == len(made)
