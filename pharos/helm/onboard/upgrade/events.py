"""What is told of an upgrade while it runs; a command prints it, REST keeps and serves it, both with these words.

The kinds are those of an onboarding (`pharos.helm.onboard.join.events`), and each says of which member it is.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final

import attrs

from pharos.helm.onboard.telling import told_as_json


class Step(enum.Enum):
    """What is done on a member, in this order; the last two only where it has to be."""

    CONNECT = "connect"
    LOOK = "look"
    KEEP = "keep"
    UPLOAD = "upload"
    INSTALL = "install"
    GATE = "gate"
    ROLL_BACK = "roll_back"
    GATE_AGAIN = "gate_again"


class Outcome(enum.Enum):
    """How it ended for a member."""

    UPGRADED = "upgraded"
    ALREADY = "already"
    """It runs that version."""
    PLANNED = "planned"
    """It would be upgraded; this was a dry run."""
    UNTOUCHED = "untouched"
    """It could not be, and is as it was."""
    ROLLED_BACK = "rolled_back"
    """It runs the version from before again, and is well."""
    BROKEN = "broken"
    """Somebody has to look."""
    LEFT = "left"
    """Its turn did not come, for another one had failed."""

    @property
    def well(self) -> bool:
        """Whether others may follow."""
        return self in (Outcome.UPGRADED, Outcome.ALREADY, Outcome.PLANNED)


@attrs.frozen(kw_only=True)
class StepBegun:
    """A step begins."""

    member: str
    """Its name; likewise below."""
    step: Step
    says: str


@attrs.frozen(kw_only=True)
class StepProgress:
    """It goes on: octets of an upload, or what is waited for."""

    member: str
    step: Step
    done: int | None = None
    """Octets."""
    total: int | None = None
    says: str = ""


@attrs.frozen(kw_only=True)
class StepDone:
    """A step is done."""

    member: str
    step: Step
    says: str
    seconds: float


@attrs.frozen(kw_only=True)
class StepFailed:
    """A step did not come to its end."""

    member: str
    step: Step
    says: str
    seconds: float


@attrs.frozen(kw_only=True)
class MemberEnded:
    """It is over for a member."""

    member: str
    outcome: Outcome
    says: str
    seconds: float


@attrs.frozen(kw_only=True)
class Ended:
    """It is over."""

    outcomes: dict[str, Outcome]
    """By the names of the members."""
    seconds: float

    @property
    def well(self) -> bool:
        """Whether everybody has the version now."""
        return all(outcome.well for outcome in self.outcomes.values())


Event = StepBegun | StepProgress | StepDone | StepFailed | MemberEnded | Ended
Emit = Callable[[Event], None]

_NAMES: Final[dict[type, str]] = {
    StepBegun: "begun",
    StepProgress: "progress",
    StepDone: "done",
    StepFailed: "failed",
    MemberEnded: "member_ended",
    Ended: "ended",
}


def event_json(event: Event) -> dict[str, Any]:
    """Return an event as JSON has it."""
    return told_as_json(_NAMES[type(event)], event)
