"""Every change that helm's operator can ask for is in the record whole or not at all, wherever helm dies.

One helm does them all once, with each of its writes and syncs noted; each disk that a kill or a power cut may leave is
then opened (docs/guide/faults.md). A quick run stops at one step in ninety, which costs 8 s; the heavy suites at each
fifth, which costs 30.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from pharos.helm.store.database import open_store
from tests.helm.store import test_migrations
from tests.support.crashing import in_memory, play, quiet
from tests.support.diskimage import crashes, lay_down, read_tree
from tests.support.faultfs import Rehearsal, rehearsing
from tests.support.figures import Fault, record
from tests.support.helmstory import check_record, helm_story, prepare


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with rehearsing() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as found:
        yield found


@pytest.mark.parametrize("stride", [90, pytest.param(5, marks=pytest.mark.system)])
def test_every_change_is_whole_or_not_there_after_any_crash(folder: Path, rehearsal: Rehearsal, stride: int) -> None:
    played = play(rehearsal, folder, "helm", helm_story(), prepare=prepare, powers=1, after=check_record, stride=stride)
    assert played.wrong == []
    assert played.disks > 5_000 / stride
    changes = len(played.views) - 1
    assert len({view["record"] for view in played.views}) == len(played.views), "a step changes nothing"
    record(Fault.KILLED_HELM, f"acknowledged changes, of {changes} kinds, lost", 0, f"of {played.acknowledged}")
    record(Fault.KILLED_HELM, "disks of a crash with a change that was half there", 0, f"of {played.disks}")
    record(Fault.POWER_CUT, "disks of helm with anything lost or half", 0, f"of {played.disks}")


@pytest.mark.parametrize("weak", ["lazy", "apart"])
def test_losses_of_a_weaker_helm_are_found_turns_red(folder: Path, rehearsal: Rehearsal, weak: str) -> None:
    played = play(rehearsal, folder, "helm", helm_story(), prepare=prepare, weak=weak, stride=7, enough=1)
    assert played.wrong


@pytest.mark.parametrize("disks", [12, pytest.param(60, marks=pytest.mark.system)])
def test_migration_is_done_again_after_any_crash(folder: Path, rehearsal: Rehearsal, disks: int) -> None:
    root = folder / "root"
    (root / "state").mkdir(mode=0o700, parents=True)
    test_migrations.lay_down(root / "state", "m0001", "telemetry-m0001")
    before = read_tree(root)
    whole = rehearsal.attempt("migrate", root / "state", note=root)
    assert whole.finished
    looked = 0
    with quiet():
        for crash in crashes(before, whole.steps, powers=0, stride=2 * len(whole.steps) // disks):
            lay_down(crash.tree, root, folder / "image")
            with open_store(folder / "image" / "state") as store:
                trio.run(store.run, test_migrations.check_first_fleet)
            check_record(folder / "image" / "state")
            looked += 1
    assert looked > disks / 2
    record(Fault.POWER_CUT, "disks of a migration after which it could not be done again", 0, f"of {looked}")
