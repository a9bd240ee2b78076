"""What happens while a connection is being steered, kept until whoever steers looks at it."""

from __future__ import annotations

import attrs
import trio

from pharos.caravel.tunnel.parts import Candidate


@attrs.define(eq=False, kw_only=True)
class Switch:
    """Somebody wants another node."""

    wanted: str | None
    candidates: tuple[Candidate, ...]
    done: trio.Event = attrs.field(factory=trio.Event)
    failures: list[tuple[Candidate, Exception]] = attrs.field(factory=list)
    is_there: bool = False


@attrs.frozen(kw_only=True)
class News:
    """What has happened since it was looked at last."""

    network: str = ""
    """Why this machine may dial out from somewhere else now."""
    profile: bool = False
    switch: Switch | None = None


class Newsstand:
    """Collects it. Of two things of one kind the later is kept."""

    def __init__(self) -> None:
        self.told, self.pressed = trio.Event(), trio.Event()
        """Set by anything; and by what a race has to be broken off for."""
        self._news = News()

    def tell_network(self, why: str) -> None:
        self._news = attrs.evolve(self._news, network=why)
        self._press()

    def tell_profile(self) -> None:
        self._news = attrs.evolve(self._news, profile=True)
        self.told.set()

    def tell_switch(self, switch: Switch) -> None:
        if self._news.switch is not None:
            self._news.switch.done.set()
        self._news = attrs.evolve(self._news, switch=switch)
        self._press()

    def take(self) -> News:
        """Return what there is; it is the caller's to act upon."""
        news, self._news = self._news, News()
        self.told, self.pressed = trio.Event(), trio.Event()
        return news

    def _press(self) -> None:
        self.told.set()
        self.pressed.set()
