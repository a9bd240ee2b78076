"""A node loses nothing that it was told, whichever write is its last: killed, without power, or on a full disk.

The story is written once and judged on each disk that a crash may leave (docs/guide/faults.md). It costs 10 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from pharos.wire.agent import AgentKeys
from pharos.wire.pki.roles import Role
from tests.support.buoy import make_buoy
from tests.support.crashing import in_memory, play, refused
from tests.support.faultfs import Fate, Rehearsal, rehearsing
from tests.support.figures import Fault, record
from tests.support.nodestory import node_story
from tests.support.pki import utc_now


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with rehearsing() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as found:
        yield found


def start(state: Path) -> None:
    """Come up as the daemon does, from whatever is there."""

    async def come_up() -> None:
        make_buoy(state, keys=keys, membership=keys.membership(now=utc_now()))

    keys = AgentKeys(state, Role.NODE)
    if keys.exists and keys._body is not None and keys._body["grant"] is not None:
        trio.run(come_up)


def test_node_comes_up_with_what_it_was_told_after_any_crash(folder: Path, rehearsal: Rehearsal) -> None:
    played = play(rehearsal, folder, "node", node_story(), powers=4, after=start)
    assert played.wrong == []
    assert played.disks > 100
    record(Fault.KILLED_BUOY, "disks of a crash with anything lost", len(played.wrong), f"of {played.disks}")
    record(Fault.POWER_CUT, "disks of a node with anything lost", len(played.wrong), f"of {played.disks}")


@pytest.mark.parametrize("weak", ["no sync", "no names", "aside", "in place"])
def test_losses_of_a_weaker_node_are_found_turns_red(folder: Path, rehearsal: Rehearsal, weak: str) -> None:
    assert play(rehearsal, folder, "node", node_story(), powers=2, weak=weak).wrong


@pytest.mark.parametrize("fate", [Fate.EIO, Fate.FULL])
def test_node_goes_on_whichever_write_is_refused(folder: Path, rehearsal: Rehearsal, fate: Fate) -> None:
    story = node_story()
    state = folder / "whole"
    state.mkdir()
    points = rehearsal.attempt("node", state).points
    assert points > 100
    for n in range(1, points + 1, 17):
        assert refused(rehearsal, folder, "node", story, fate, n) == "", f"write point {n}"
