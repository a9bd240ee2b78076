"""helm's files beside its databases are whole or not there after any crash: SSH key, pins, copies, backups, restores.

They are written once and judged on disks that a crash may leave (docs/guide/faults.md). It costs 12 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crashing import in_memory, play, refused
from tests.support.faultfs import Fate, Rehearsal, rehearsing
from tests.support.figures import Fault, record
from tests.support.helmfiles import files_story, prepare_newer, revert_at_last, revert_story
from tests.support.helmstory import prepare


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with rehearsing() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as found:
        yield found


@pytest.mark.parametrize("stride", [40, pytest.param(6, marks=pytest.mark.system)])
def test_files_are_whole_or_not_there_after_any_crash(folder: Path, rehearsal: Rehearsal, stride: int) -> None:
    played = play(rehearsal, folder, "helm files", files_story(), prepare=prepare, powers=2, stride=stride)
    assert played.wrong == []
    assert played.disks > 2_500 / stride
    record(Fault.POWER_CUT, "disks of helm's files with anything lost", 0, f"of {played.disks}")


@pytest.mark.parametrize("stride", [40, pytest.param(6, marks=pytest.mark.system)])
def test_way_back_from_a_newer_helm_is_gone_to_its_end_after_any_crash(
    folder: Path, rehearsal: Rehearsal, stride: int
) -> None:
    played = play(
        rehearsal,
        folder,
        "revert",
        revert_story(),
        prepare=prepare_newer,
        powers=1,
        after=revert_at_last,
        stride=stride,
    )
    assert played.wrong == []
    assert [view["newer"] for view in played.views] == [True, False]
    record(Fault.POWER_CUT, "disks after which helm revert could not be gone on with", 0, f"of {played.disks}")


@pytest.mark.parametrize("weak", ["no sync", "no names"])
def test_losses_of_weaker_files_are_found_turns_red(folder: Path, rehearsal: Rehearsal, weak: str) -> None:
    played = play(
        rehearsal, folder, "helm files", files_story(), prepare=prepare, powers=2, weak=weak, stride=3, enough=1
    )
    assert played.wrong


@pytest.mark.parametrize("fate", [Fate.EIO, Fate.FULL])
def test_files_are_made_in_spite_of_refused_writes(folder: Path, rehearsal: Rehearsal, fate: Fate) -> None:
    state = folder / "whole" / "state"
    state.mkdir(mode=0o700, parents=True)
    prepare(state)
    points = rehearsal.attempt("helm files", state).points
    assert points > 500
    for n in range(1, points + 1, 311):
        wrong = refused(rehearsal, folder, "helm files", files_story(), fate, n, prepare=prepare)
        assert wrong == "", f"write point {n}"
