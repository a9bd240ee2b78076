"""A device keeps each thing as it was or as it was changed last, whichever write is its last: key, bundle, note, link.

The story is written once and judged on each disk that a crash may leave (docs/guide/faults.md). It costs 20 s. That
the machine's network is put back by those notes, see tests/system/test_caravel_crash.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import devices
from tests.support.crashing import in_memory, play, refused
from tests.support.devicestory import device_story, prepare
from tests.support.faultfs import Fate, Rehearsal, rehearsing
from tests.support.figures import Fault, record
from tests.support.helm import fleet_in_memory

Prepare = Callable[[Path], None]
KILLS = 20


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with rehearsing() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """What lays down a device in a fleet."""
    original = tmp_path_factory.mktemp("device") / "original"
    with fleet_in_memory() as (_, authority):
        devices.lay_down(original, authority)
    return prepare(original)


def test_device_keeps_all_of_it_after_any_crash(folder: Path, rehearsal: Rehearsal, enrolled: Prepare) -> None:
    played = play(rehearsal, folder, "device", device_story(), prepare=enrolled, powers=3)
    assert played.wrong == []
    assert played.disks > 250
    record(Fault.POWER_CUT, "disks of a device with anything lost", len(played.wrong), f"of {played.disks}")


@pytest.mark.parametrize("weak", ["no sync", "no names", "in place", "signed out", "one by one"])
def test_losses_of_a_weaker_device_are_found_turns_red(
    folder: Path, rehearsal: Rehearsal, enrolled: Prepare, weak: str
) -> None:
    assert play(rehearsal, folder, "device", device_story(), prepare=enrolled, weak=weak).wrong


def test_device_that_is_killed_while_it_syncs_has_what_it_was_given(
    folder: Path, rehearsal: Rehearsal, enrolled: Prepare
) -> None:
    """At any moment, not at a write alone: by the clock, as a phone's owner does it."""
    chance = random.Random(13)
    for number in range(KILLS):
        state = folder / str(number) / "state"
        state.mkdir(mode=0o700, parents=True)
        enrolled(state)
        attempt = rehearsal.attempt("bundles until killed", state, after=chance.uniform(0.001, 0.05))
        assert not attempt.finished
        newest = max((revision for (revision,) in attempt.acknowledged), default=1)
        found = devices.open_store(state).bundle()
        assert found is not None
        (_, revision), blob = found
        assert revision >= newest
        assert blob == devices.blob(revision)
    record(Fault.KILLED_BUOY, "bundles lost by a device that was killed while it synced", 0, f"of {KILLS} kills")


@pytest.mark.parametrize("fate", [Fate.EIO, Fate.FULL])
def test_device_goes_on_whichever_write_is_refused(
    folder: Path, rehearsal: Rehearsal, enrolled: Prepare, fate: Fate
) -> None:
    story = device_story()
    state = folder / "whole" / "state"
    state.mkdir(mode=0o700, parents=True)
    enrolled(state)
    points = rehearsal.attempt("device", state).points
    assert points > 200
    for n in range(1, points + 1, 31):
        assert refused(rehearsal, folder, "device", story, fate, n, prepare=enrolled) == "", f"write point {n}"
