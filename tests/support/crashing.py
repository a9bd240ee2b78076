"""Stories played to their end once, and judged on every disk that a crash in between may leave."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.support.diskimage import crashes, lay_down, read_tree
from tests.support.faultfs import Fate, Rehearsal
from tests.support.faultstories import Story, View, views_of

Prepare = Callable[[Path], object]


@contextmanager
def in_memory(otherwise: Path) -> Iterator[Path]:
    """A directory in memory where there is such a place: what is durable is the harness's own affair."""
    if not os.access("/dev/shm", os.W_OK):
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@contextmanager
def quiet() -> Iterator[None]:
    """What programs log of a disk that was hurt is no news."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@attrs.define
class Played:
    """What came of a story."""

    views: list[View]
    visited: frozenset[str]
    disks: int = 0
    """How many different disks there were."""
    acknowledged: int = 0
    """How many changes had been acknowledged before a crash, all disks together."""
    wrong: list[str] = attrs.field(factory=list)
    """What was not as it may be, each with where it was."""


def play(
    rehearsal: Rehearsal,
    folder: Path,
    work: str,
    story: Story,
    *,
    prepare: Prepare | None = None,
    powers: int = 1,
    weak: str = "",
    after: Callable[[Path], object] | None = None,
    stride: int = 1,
    enough: int = 0,
    inside: str = "state",
) -> Played:
    """Do ``work`` once, and look at each disk that a kill or a power cut leaves.

    ``prepare`` lays down what is there before; ``after`` is done with each disk that was good, and may raise;
    ``powers`` says how many disks of unsynced writes are made of each power cut. Disks are made after one step in
    ``stride``, and no more once ``enough`` were wrong.
    """
    root, image = folder / "root", folder / "image"
    shutil.rmtree(root, ignore_errors=True)
    state = root / inside
    state.mkdir(mode=0o700, parents=True)
    if prepare is not None:
        prepare(state)
    before = read_tree(root)
    whole = rehearsal.attempt(work, state, weak=weak, note=root)
    assert whole.finished, "it came to no end without any fault"
    played = Played(views_of(whole.acknowledged), frozenset(whole.visited))
    assert len(played.views) == len(story.steps) + 1
    with quiet():
        for crash in crashes(before, whole.steps, powers=powers, stride=stride):
            if enough and len(played.wrong) >= enough:
                break
            played.disks += 1
            played.acknowledged += max(crash.said - 1, 0)
            lay_down(crash.tree, root, image)
            place = image / inside
            try:
                lost = story.judge(played.views, crash, story.look(place))
                if not lost and after is not None:
                    after(place)
            except Exception as error:
                lost = f"{type(error).__name__}: {error}"
            if lost:
                played.wrong.append(f"{crash.where}, {crash.said} said: {lost}")
    return played


def refused(
    rehearsal: Rehearsal,
    folder: Path,
    work: str,
    story: Story,
    fate: Fate,
    n: int,
    *,
    prepare: Prepare | None = None,
) -> str:
    """Let the n-th write point fail and the rest be done in spite of it; return what is wrong at the end."""
    state = folder / "root" / "state"
    shutil.rmtree(folder / "root", ignore_errors=True)
    state.mkdir(mode=0o700, parents=True)
    if prepare is not None:
        prepare(state)
    attempt = rehearsal.attempt(work, state, n=n, fate=fate)
    views = views_of(attempt.acknowledged)
    if not attempt.finished or len(views) != len(story.steps) + 1:
        return "it did not come to its end"
    with quiet():
        seen = story.look(state)
    return "" if seen == views[-1] else f"{seen} is there, and {views[-1]} was acknowledged"
