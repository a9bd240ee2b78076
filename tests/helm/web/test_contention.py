"""Concurrent changes of one record are as if made one after the other: what callers saw is checked as a history.

It costs 6 s. The same over kills of helm, see tests/fleet/test_kill_loops.py.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.helm.store import records
from pharos.helm.store.database import Database
from tests.support.contending import FIRST, contend, make_users
from tests.support.figures import Fault, record
from tests.support.linearizable import Call, History, State, Told, is_linearizable
from tests.support.nouns import operator

CALLERS = 8
CALLS = 600


async def contended(tmp_path: Path, seed: int) -> History:
    """Let callers contend, and return what they saw."""
    history = History()
    async with operator(tmp_path) as (_, client):
        users = await make_users(client, ["ada", "alan", "grace"])
        async with trio.open_nursery() as nursery:
            for number in range(CALLERS):

                async def one(number: int = number) -> None:
                    await contend(
                        client, history, users, seed * 100 + number, goes_on=lambda: len(history.calls) < CALLS
                    )

                nursery.start_soon(one)
    return history


@pytest.mark.parametrize("seed", [1, 2])
async def test_history_of_contended_records_is_linearizable(tmp_path: Path, seed: int) -> None:
    history = await contended(tmp_path, seed)
    assert history.faults(FIRST) == []
    told = [call.told for call in history.calls]
    assert min(told.count(kind) for kind in (Told.READ, Told.WRITTEN, Told.STALE)) > 20
    record(Fault.CONTENTION, "records with a history that is not linearizable", 0, "of 3")
    record(Fault.CONTENTION, "calls in the history", len(told))


async def test_history_without_the_version_in_the_update_is_not_turns_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build whose UPDATE does not ask for the version that was seen."""
    change = records.change_record

    def blind(db: Database, noun: Any, record_id: str, _version: int, *rest: Any, **more: Any) -> Any:
        current = records.get_record(db, noun, record_id)
        return change(db, noun, record_id, current.version, *rest, **more)

    monkeypatch.setattr("pharos.helm.accounts.users.change_record", blind)
    assert (await contended(tmp_path, 1)).faults(FIRST)


async def test_forged_history_is_found_turns_red(tmp_path: Path) -> None:
    """One read that was told what was there before a write that had been acknowledged."""
    history = await contended(tmp_path, 3)
    written = [call for call in history.calls if call.told is Told.WRITTEN]
    later = next(
        call
        for call in history.calls
        if call.told is Told.READ and any(w.record == call.record and _before(w, call) for w in written)
    )
    later.state = FIRST
    assert history.faults(FIRST) == [later.record]


def _before(one: Call, other: Call) -> bool:
    return one.ended is not None and one.ended < other.began


def calls(*said: tuple[int, int | None, Told, int, str, State | None]) -> list[Call]:
    """Spell a history: began, ended, told, version seen, note, what the answer said."""
    return [
        Call(record="r", began=began, ended=ended, told=told, seen=seen, note=note, state=state)
        for began, ended, told, seen, note, state in said
    ]


TWO_WRITES = calls(
    (1, 4, Told.WRITTEN, 1, "a", (2, "a")),
    (2, 3, Told.STALE, 1, "b", (2, "a")),
    (5, 6, Told.READ, 0, "", (2, "a")),
)


def test_checker_finds_the_order_of_calls_that_overlap() -> None:
    assert is_linearizable(TWO_WRITES, FIRST)
    # Whatever the order in which they are listed.
    assert all(is_linearizable(order, FIRST) for order in itertools.permutations(TWO_WRITES))


@pytest.mark.parametrize(
    "history",
    [
        # Both were told that their change was made.
        calls((1, 3, Told.WRITTEN, 1, "a", (2, "a")), (2, 4, Told.WRITTEN, 1, "b", (2, "b"))),
        # A read that began after a write was acknowledged, and saw nothing of it.
        calls((1, 2, Told.WRITTEN, 1, "a", (2, "a")), (3, 4, Told.READ, 0, "", FIRST)),
        # Refused as stale, and nobody else has written.
        calls((1, 2, Told.STALE, 1, "a", FIRST)),
        # Two reads, the later of which went back in time past a write that nobody answered.
        calls(
            (1, None, Told.NOTHING, 1, "a", None),
            (2, 3, Told.READ, 0, "", (2, "a")),
            (4, 5, Told.READ, 0, "", FIRST),
        ),
    ],
)
def test_checker_finds_no_order_where_there_is_none(history: list[Call]) -> None:
    assert not is_linearizable(history, FIRST)


def test_call_without_an_answer_may_have_been_made_or_not() -> None:
    lost = calls((1, None, Told.NOTHING, 1, "a", None))
    for state in (FIRST, (2, "a")):
        assert is_linearizable([*lost, *calls((5, 6, Told.READ, 0, "", state))], FIRST)
    assert not is_linearizable([attrs.evolve(lost[0], note="b"), *calls((5, 6, Told.READ, 0, "", (2, "a")))], FIRST)
