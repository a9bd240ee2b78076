"""Why an onboarding does not go on, with the way on; the connection's own errors are `pharos.helm.onboard.errors`.

StepError                an OnboardError: a step did not come to its end
└── RefusedMachineError  the machine is none for this fleet, and is left as it is
"""

from __future__ import annotations

from typing import Final

from pharos.helm.onboard.errors import ConnectionLostError, HostKeyError, OnboardError
from pharos.wire.errors import WireError

AGAIN: Final = "Run the same command again when that is put right: it goes on from here."


class StepError(OnboardError):
    """A step did not come to its end."""

    def __init__(self, why: str, way: str = AGAIN) -> None:
        super().__init__(f"{why.rstrip('.')}. {way}".strip())
        self.why: Final = why
        self.way: Final = way
        """What to do about it, a sentence; empty where ``why`` says it."""


class RefusedMachineError(StepError):
    """The machine is none for this fleet, and is left as it is."""


def as_step_error(error: WireError | OSError) -> StepError:
    """Return whatever went wrong as why a step did not come to its end."""
    if isinstance(error, StepError):
        return error
    says = str(error) or (type(error).__doc__ or "").strip()
    if isinstance(error, HostKeyError):
        return StepError(says, "")
    if isinstance(error, ConnectionLostError):
        return StepError(says, "See that the machine runs and answers, and run the same command again: it goes on.")
    return StepError(says)
