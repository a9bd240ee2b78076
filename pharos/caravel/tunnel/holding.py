"""A leg in a task of its own, so that the one who holds it may let it go at any time, and its end is nobody's crash."""

from __future__ import annotations

import sys
from typing import Final

import attrs
import trio

from pharos.caravel.tunnel.parts import Candidate, Inner, Leg
from pharos.wire.errors import WireError

LEG_ERRORS: Final = (OSError, WireError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What a way that does not lead in raises; anything else is a bug, and is not caught."""


@attrs.define(eq=False, kw_only=True)
class Held:
    """A leg that is open."""

    candidate: Candidate
    leg: Leg
    over: trio.Event = attrs.field(factory=trio.Event)
    """Set when it has ended by itself, or was dropped."""
    why: str = ""
    """It has ended by itself."""
    is_counted: bool = False
    """What went through it stands in the connection's sum already."""
    _scope: trio.CancelScope

    def drop(self) -> None:
        """Close the leg soon."""
        self._scope.cancel()


@attrs.frozen(kw_only=True)
class Unopened:
    """A leg that could not be opened."""

    error: Exception


async def hold(candidate: Candidate, inner: Inner, *, task_status: trio.TaskStatus[Held | Unopened]) -> None:
    """Keep a leg open until it is dropped, or ends.

    Raises: TunGoneError — the inner side is gone, and no other leg will do better.
    """
    held: Held | None = None
    failure: Exception | None = None
    with trio.CancelScope() as scope:
        try:
            async with candidate.open(inner) as leg:
                held = Held(candidate=candidate, leg=leg, scope=scope)
                task_status.started(held)
                await trio.sleep_forever()
        except* LEG_ERRORS as group:
            failure = first_of(group)
    if held is not None:
        held.why = "" if failure is None else str(failure)
        held.over.set()
    elif failure is not None:
        task_status.started(Unopened(error=failure))
    if failure is not None and is_inner_gone(failure):
        raise failure


def first_of(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first of those that are in a group, however deep."""
    inner: Exception | BaseExceptionGroup[Exception] = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner


def is_inner_gone(error: Exception) -> bool:
    """Whether a TUN interface is no more. Where the module was never imported there was none."""
    module = sys.modules.get("pharos.wire.awg.tun")
    return module is not None and isinstance(error, module.TunGoneError)
