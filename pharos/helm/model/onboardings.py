"""An onboarding that helm itself carries out, as it is recorded."""

from __future__ import annotations

import enum
from typing import Final

import attrs


class OnboardingState(enum.Enum):
    """How far it has come."""

    RUNNING = "running"
    WAITING = "waiting"
    """Somebody is asked something."""
    UNDOING = "undoing"
    JOINED = "joined"
    """The machine belongs to the fleet; there is nothing to be undone any more."""
    FAILED = "failed"
    """A step did not come to its end; the same again goes on from there."""
    STOPPED = "stopped"
    """By somebody, or because helm ended; likewise."""
    UNDONE = "undone"
    REHEARSED = "rehearsed"
    """What it would take has been told; nothing was changed."""


AT_WORK: Final = frozenset({OnboardingState.RUNNING, OnboardingState.WAITING, OnboardingState.UNDOING})


@attrs.frozen(kw_only=True)
class Onboarding:
    """One machine on its way in."""

    id: str
    name: str
    """Empty until it is known, where nobody said it."""
    destination: str
    """``[user@]host[:port]``."""
    address: str
    """Empty: as ssh reaches it."""
    parts: tuple[str, ...]
    """``buoy``, ``beacon``."""
    state: OnboardingState = OnboardingState.RUNNING
    step: str = "connect"
    """Where it is, or was when it ended."""
    text: str = ""
    """What came of it, or what went wrong and the way on."""
    asks: str = ""
    """What is waited for: ``host_key``, or the question to a password; empty: nothing."""
    host_key: str = ""
    """``SHA256:…``, once it is known."""
    ended_at: int | None = None
    version: int = 1
    created_at: int = 0
    """Microseconds since 1970."""
    updated_at: int = 0
    updated_by: str = ""
