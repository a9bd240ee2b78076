"""A story: changes of a state directory, one after the other, and what must be seen of it wherever it is cut short.

`tell` does it in a child of a `Rehearsal`, and acknowledges after each change what is there now. Whoever makes the disk
of a crash asks `judge`: each part of what is seen is as it was acknowledged last, or as the change under way made it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from tests.support.diskimage import Crash

View = dict[str, Any]
"""What is seen of a state directory, by parts; each part changes as a whole. In words of JSON."""
Acknowledge = Callable[..., None]


@attrs.frozen(kw_only=True)
class Story:
    """Changes, and how to look at what they make."""

    look: Callable[[Path], View]
    """Reads as the program does; changes nothing."""
    steps: Sequence[Callable[[Path], object]]
    """Each may be done again from its beginning where it failed."""
    first: Sequence[tuple[str, str]] = ()
    """Of two parts the first is changed first: the second is never new where the first is old."""
    refusals: tuple[type[Exception], ...] = (OSError,)
    """What a step raises where the disk takes nothing."""

    def judge(self, views: Sequence[View], crash: Crash, seen: View) -> str:
        """Return what is not as it may be after a crash; an empty text if all is."""
        old = views[max(crash.said - 1, 0)]
        new = views[min(crash.said, len(views) - 1)]
        wrong = [part for part in old if seen.get(part) not in (old[part], new[part])]
        wrong += [
            f"{later} before {sooner}"
            for sooner, later in self.first
            if seen[later] != old[later] and seen[sooner] != new[sooner]
        ]
        return ", ".join(wrong)


TRIES = 12
"""A full disk fails four calls in a row, and whoever comes up anew meets them at other places."""


def tell(make: Callable[[], Story], state: Path, acknowledge: Acknowledge) -> None:
    """Do the changes. One that is refused is done again, as often as a disk with faults asks for."""
    story = make()
    acknowledge(functools.partial(story.look, state))
    for step in story.steps:
        for left in reversed(range(TRIES)):
            with contextlib.suppress(*(story.refusals if left else ())):
                step(state)
                break
        acknowledge(functools.partial(story.look, state))


def views_of(acknowledged: Sequence[Sequence[Any]]) -> list[View]:
    """Return the views that an attempt has acknowledged."""
    return [view for (view,) in acknowledged]
