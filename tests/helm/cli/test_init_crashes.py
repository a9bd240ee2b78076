"""No fleet is there whose recovery kit nobody was shown, wherever `helm init` dies.

It is done once, and each disk that a crash leaves is looked at (docs/guide/faults.md). It costs 5 s.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pharos.helm.backup.archive import make_backup
from pharos.helm.ca.vault import RecoveryKit
from pharos.helm.cli import main
from pharos.helm.store.checks import CORE
from pharos.helm.store.fleet import has_fleet
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json
from tests.support.crashing import in_memory, quiet
from tests.support.diskimage import crashes, lay_down, read_tree
from tests.support.faultfs import Rehearsal, rehearsing
from tests.support.figures import Fault, record


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with rehearsing() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as found:
        yield found


def unseen(rehearsal: Rehearsal, folder: Path, *, stride: int, weak: str = "") -> tuple[int, int, list[str]]:
    """Return how many disks there were and on how many a fleet was, and the first of those whose kit nobody saw."""
    root, image = folder / "root", folder / "image" / "state"
    (root / "state").mkdir(mode=0o700, parents=True)
    before = read_tree(root)
    whole = rehearsal.attempt("init", root / "state", weak=weak, note=root)
    assert whole.finished
    ((kit,),) = whole.acknowledged
    looked, fleets, wrong = 0, 0, []
    with quiet():
        for crash in crashes(before, whole.steps, powers=1, stride=stride):
            lay_down(crash.tree, root, image.parent)
            looked += 1
            if not is_fleet(image):
                if not weak and looked % 8 == 1:
                    # It is done again, and not in the way of itself.
                    image.mkdir(mode=0o700, exist_ok=True)
                    assert invoke(main, "init", "--state", image).exit_code == Exit.DONE
                continue
            fleets += 1
            if not crash.said:
                wrong.append(crash.where)
                break
            if fleets == 1:
                # It is the one that was shown.
                make_backup(image, folder, at=1_800_000_000_000_000, kit=RecoveryKit.parse(kit))
    return looked, fleets, wrong


def is_fleet(state: Path) -> bool:
    """Look with SQLite alone: helm would make the tables first, a thousand times."""
    if not (state / CORE).exists():
        return False
    with closing(sqlite3.connect(state / CORE)) as db:
        there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'fleet'").fetchone()
        return there is not None and has_fleet(db)


@pytest.mark.parametrize("stride", [12, pytest.param(3, marks=pytest.mark.system)])
def test_no_fleet_has_a_kit_that_nobody_saw(folder: Path, rehearsal: Rehearsal, stride: int) -> None:
    looked, fleets, wrong = unseen(rehearsal, folder, stride=stride)
    assert wrong == []
    assert 0 < fleets < looked
    record(Fault.KILLED_HELM, "disks of helm init with a fleet whose kit nobody saw", 0, f"of {looked}")


def test_fleet_that_is_there_before_its_kit_is_found_turns_red(folder: Path, rehearsal: Rehearsal) -> None:
    _, _, wrong = unseen(rehearsal, folder, stride=1, weak="shown late")
    assert wrong


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_kit_that_cannot_be_shown_is_no_fleets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr("pharos.helm.cli.life.print_json" if options else "pharos.helm.cli.life.click.echo", broken)
        assert invoke(main, "init", "--state", tmp_path / "s", *options).exit_code != Exit.DONE
    refused = invoke(main, "run", "--state", tmp_path / "s")
    assert (refused.exit_code, "fleet" in refused.stderr) == (Exit.FAILED, True)
    assert invoke_json(main, "init", "--state", tmp_path / "s")["recovery_kit"]
