"""A relay goes on with the trust and the deny list that it had, or the newer ones, whichever write is its last.

The story is written once and judged on each disk that a crash may leave (docs/guide/faults.md). It costs 6 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crashing import in_memory, play, refused
from tests.support.faultfs import Fate, Rehearsal, rehearsing
from tests.support.figures import Fault, record
from tests.support.nodestory import relay_story


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with rehearsing() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as found:
        yield found


def test_relay_comes_up_with_what_it_was_told_after_any_crash(folder: Path, rehearsal: Rehearsal) -> None:
    played = play(rehearsal, folder, "relay", relay_story(), powers=4)
    assert played.wrong == []
    assert played.disks > 40
    record(Fault.POWER_CUT, "disks of a relay with anything lost", len(played.wrong), f"of {played.disks}")


@pytest.mark.parametrize("weak", ["no sync", "no names", "in place"])
def test_losses_of_a_weaker_relay_are_found_turns_red(folder: Path, rehearsal: Rehearsal, weak: str) -> None:
    assert play(rehearsal, folder, "relay", relay_story(), powers=2, weak=weak).wrong


@pytest.mark.parametrize("fate", [Fate.EIO, Fate.FULL])
def test_relay_goes_on_whichever_write_is_refused(folder: Path, rehearsal: Rehearsal, fate: Fate) -> None:
    story = relay_story()
    state = folder / "whole"
    state.mkdir()
    points = rehearsal.attempt("relay", state).points
    assert points > 50
    for n in range(1, points + 1, 17):
        assert refused(rehearsal, folder, "relay", story, fate, n) == "", f"write point {n}"
