"""What is told of an onboarding while it runs; a command prints it, REST streams it, both with these words."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import attrs

from pharos.helm.onboard.telling import told_as_json


class StepId(enum.Enum):
    """What is done, in this order."""

    CONNECT = "connect"
    LOOK = "look"
    UPLOAD = "upload"
    INSTALL = "install"
    SETTINGS = "settings"
    REQUEST = "request"
    ADOPT = "adopt"
    GRANT = "grant"
    START = "start"
    PORTS = "ports"
    STATUS = "status"


@attrs.frozen(kw_only=True)
class StepBegun:
    """A step begins."""

    step: StepId
    says: str
    """``install the packages``"""


@attrs.frozen(kw_only=True)
class StepProgress:
    """It goes on: octets of an upload, or words about what is waited for."""

    step: StepId
    done: int | None = None
    """Octets."""
    total: int | None = None
    says: str = ""


@attrs.frozen(kw_only=True)
class StepDone:
    """A step is done, or was already."""

    step: StepId
    says: str
    changed: bool
    """False: all of it was there."""
    seconds: float


@attrs.frozen(kw_only=True)
class StepFailed:
    """A step did not come to its end. What was done before it stays, and the same command goes on from here."""

    step: StepId
    says: str
    way: str
    """What to do about it."""
    seconds: float


@attrs.frozen(kw_only=True)
class StepUndone:
    """What a step had done is taken back."""

    step: StepId
    says: str


@attrs.frozen(kw_only=True)
class Planned:
    """What a step would do (``--dry-run``)."""

    step: StepId
    says: str
    changes: bool


@attrs.frozen(kw_only=True)
class Asked:
    """Somebody has to say something before it goes on."""

    what: str
    """``host_key``: is it this one? ``password``: which?"""
    says: str
    """The fingerprint, or what the password is for."""


@attrs.frozen(kw_only=True)
class Joined:
    """It is over: the machine belongs to the fleet."""

    members: dict[str, str]
    """Id by ``nodes`` or ``relays``."""
    seconds: float


@attrs.frozen(kw_only=True)
class Rehearsed:
    """A rehearsal that helm itself carried out is over, and nothing was changed."""

    changes: int
    """How many steps would change something."""


@attrs.frozen(kw_only=True)
class Stopped:
    """It is over before its end: what was done is undone, or stays for the next time."""

    undone: bool


Event = StepBegun | StepProgress | StepDone | StepFailed | StepUndone | Planned | Asked | Joined | Rehearsed | Stopped
Emit = Callable[[Event], None]

_NAMES: dict[type, str] = {
    StepBegun: "begun",
    StepProgress: "progress",
    StepDone: "done",
    StepFailed: "failed",
    StepUndone: "undone",
    Planned: "planned",
    Asked: "asked",
    Joined: "joined",
    Rehearsed: "rehearsed",
    Stopped: "stopped",
}


def event_json(event: Event) -> dict[str, Any]:
    """Return an event as JSON has it."""
    return told_as_json(_NAMES[type(event)], event)
