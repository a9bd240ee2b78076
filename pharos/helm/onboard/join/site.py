"""One machine while it is worked on: what is known of it by now, and how its steps speak."""

from __future__ import annotations

import attrs

from pharos.helm.onboard.debs import Deb
from pharos.helm.onboard.errors import RemoteCommandError, RemoteFullError
from pharos.helm.onboard.join.desk import Adopted, Desk
from pharos.helm.onboard.join.errors import StepError
from pharos.helm.onboard.join.events import Emit, StepId, StepProgress
from pharos.helm.onboard.join.judge import Standing
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.join.traces import Traces
from pharos.helm.onboard.join.wish import Wish
from pharos.helm.onboard.remote import Remote


@attrs.frozen
class Outcome:
    """What came of a step."""

    says: str
    changed: bool


@attrs.define(kw_only=True)
class Site:
    """Filled in by the steps, each for those behind it."""

    remote: Remote
    desk: Desk
    wish: Wish
    emit: Emit
    step: StepId = StepId.CONNECT
    fleet: str = ""
    traces: Traces | None = None
    standing: dict[Part, Standing] = attrs.field(factory=dict)
    """Who it is already."""
    debs: dict[Part, Deb] = attrs.field(factory=dict)
    """Those that have to be installed."""
    unset: set[Part] = attrs.field(factory=set)
    """Those whose settings are not as they should be."""
    uploaded: dict[Part, str] = attrs.field(factory=dict)
    requests: dict[Part, str] = attrs.field(factory=dict)
    adopted: dict[Part, Adopted] = attrs.field(factory=dict)
    stale: set[Part] = attrs.field(factory=set)
    """Whose service runs with what was before."""

    @property
    def trace(self) -> Traces:
        """Open from the look on."""
        assert self.traces is not None, "looking opens them"
        return self.traces

    def progress(self, says: str = "", *, done: int | None = None, total: int | None = None) -> None:
        """Tell how the step goes on."""
        self.emit(StepProgress(step=self.step, done=done, total=total, says=says))

    async def root(self, *argv: str, stdin: bytes = b"", timeout: float = 60.0) -> str:
        """Run a command as root and return what it printed."""
        return (await self.remote.run(*argv, stdin=stdin, root=True, timeout=timeout)).decode(errors="replace")

    async def holds(self, *argv: str) -> bool:
        """Tell whether a command as root ends well."""
        try:
            await self.root(*argv)
        except RemoteCommandError:
            return False
        return True


def listed(things: object) -> str:
    """Return ``a, b and c``."""
    words = [str(thing) for thing in things] if isinstance(things, (list, tuple, set, dict)) else [str(things)]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def explain(error: RemoteCommandError) -> StepError:
    """Return a command's failure as that of a step."""
    if isinstance(error, RemoteFullError) or "have enough free space" in error.stderr:
        return StepError("its disk is full", "Make room there and run the same command again: it goes on from here.")
    return StepError(str(error))
