"""Who comes back gets what was missed, as long as the outbox has it; else a gap says what it has not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pharos.helm.live import replay
from pharos.helm.live.replay import Reach, Seen, find_reach, read_replay
from pharos.helm.live.subscriber import Gap
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.outbox import append_entry
from tests.support.helm import fleet_in_memory


@pytest.fixture
def db() -> Iterator[Database]:
    """A fleet whose outbox holds 11 to 30."""
    with fleet_in_memory() as (db, _):
        db.execute("DELETE FROM outbox")
        for number in range(30):
            noun = "token" if number % 2 else "user"
            append_entry(
                db, at=number, kind=f"{noun}_added", subject="s", actor="a", detail="", noun=noun, version=1, body="{}"
            )
        db.execute("DELETE FROM outbox WHERE sequence <= 10")
        yield db


def test_newcomer_is_told_where_the_outbox_stands(db: Database) -> None:
    assert find_reach(db, None) == Reach(get_fleet(db).epoch, 30, None)


@pytest.mark.parametrize("sequence", [10, 11, 29, 30])
def test_what_is_kept_can_be_replayed(db: Database, sequence: int) -> None:
    epoch = get_fleet(db).epoch
    assert find_reach(db, Seen(sequence)) == find_reach(db, Seen(sequence, epoch)) == Reach(epoch, 30, None)


def test_what_is_not_kept_is_a_gap(db: Database) -> None:
    assert find_reach(db, Seen(9)).gap == Gap(10, 30)
    assert find_reach(db, Seen(0)).gap == Gap(1, 30)


def test_more_than_a_replay_carries_is_a_gap(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_REPLAY", 5)
    assert find_reach(db, Seen(25)).gap is None
    assert find_reach(db, Seen(24)).gap == Gap(25, 30)


def test_sequences_of_another_epoch_or_from_the_future_say_nothing(db: Database) -> None:
    epoch = get_fleet(db).epoch
    assert find_reach(db, Seen(30, epoch + 1)).gap == Gap(1, 30)
    assert find_reach(db, Seen(31, epoch)).gap == Gap(1, 30)


def test_replay_comes_in_pages_and_by_nouns(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PAGE", 4)
    seen: list[int] = []
    after, pages = 20, 0
    while after < 29:
        after, text = read_replay(db, after, 29, frozenset({"user"}))
        pages += 1
        seen += [delta["seq"] for delta in json.loads(text or "{}").get("deltas", [])]
    assert (seen, pages, after) == ([21, 23, 25, 27, 29], 3, 29)
    assert read_replay(db, 28, 29, frozenset()) == (29, None)
