"""Which driver serves which protocol: the best that this machine has, or the one that was asked for. Pure.

Best is what carries the most and outlives the agent: the kernel, then a process of its own, then this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from pharos.buoy.config import AUTO
from pharos.buoy.dataplane.base import EngineError

KERNEL: Final = "kernel"
USERSPACE: Final = "userspace"
EMBEDDED: Final = "embedded"
XRAY: Final = "xray"


@attrs.frozen(kw_only=True)
class Found:
    """What a machine has of what one driver needs."""

    name: str
    """The driver's."""
    here: tuple[str, ...] = ()
    """What is here, as an operator would say it."""
    missing: tuple[str, ...] = ()
    """What is not, likewise; nothing: it can be used."""


@attrs.frozen(kw_only=True)
class Choice:
    """The driver that is used, and why."""

    name: str
    reason: str


def choose(asked: str, found: Sequence[Found]) -> Choice:
    """Return the first that can be used, or the one that was asked for; ``found`` is in order, best first.

    Raises: EngineError — the one that was asked for cannot be used, or none can; the message says what is missing.
    """
    if asked != AUTO:
        one = next((each for each in found if each.name == asked), None)
        if one is None:
            raise EngineError(f"there is no driver {asked!r}, only {', '.join(each.name for each in found)}")
        if one.missing:
            raise EngineError(f"the driver {asked} was asked for, and this is missing: {', '.join(one.missing)}")
        return Choice(name=asked, reason="it was asked for")
    passed: list[str] = []
    for each in found:
        if not each.missing:
            return Choice(name=each.name, reason="; ".join([*each.here, *passed]))
        passed.append(f"not {each.name}, for this is missing: {', '.join(each.missing)}")
    raise EngineError("; ".join(passed))
