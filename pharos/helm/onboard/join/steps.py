"""The steps, in their order: what each does, and how it is taken back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from pharos.helm.onboard.join.enrolling import adopt, ask, grant, start, undo_adopt, undo_ask, undo_start
from pharos.helm.onboard.join.events import Planned, StepId
from pharos.helm.onboard.join.installing import configure, install, undo_configure, undo_install, upload
from pharos.helm.onboard.join.judge import is_broken
from pharos.helm.onboard.join.looking import look
from pharos.helm.onboard.join.reaching import check_ports, see
from pharos.helm.onboard.join.site import Outcome, Site, listed


@attrs.frozen(kw_only=True)
class Step:
    """One of them."""

    id: StepId
    says: str
    """What it is about, for people."""
    do: Callable[[Site], Awaitable[Outcome]]
    """Done again, it does what is still to be done."""
    undo: Callable[[Site], Awaitable[str]] | None = None
    """Returns what it took back, nothing for nothing; None: there is never anything."""


STEPS: Final = (
    Step(id=StepId.LOOK, says="look at the machine", do=look),
    Step(id=StepId.UPLOAD, says="send the packages", do=upload),
    Step(id=StepId.INSTALL, says="install them", do=install, undo=undo_install),
    Step(id=StepId.SETTINGS, says="write settings", do=configure, undo=undo_configure),
    Step(id=StepId.REQUEST, says="make keys on the machine", do=ask, undo=undo_ask),
    Step(id=StepId.ADOPT, says="sign its certificate", do=adopt, undo=undo_adopt),
    Step(id=StepId.GRANT, says="install the certificate", do=grant),
    Step(id=StepId.START, says="start the services", do=start, undo=undo_start),
    Step(id=StepId.PORTS, says="try its ports", do=check_ports),
    Step(id=StepId.STATUS, says="hear from it over mTLS", do=see),
)
"""Connecting comes before them, and is the connection's own."""


def plan(site: Site) -> list[Planned]:
    """Return what the steps after the look would do."""
    wish, facts = site.wish, site.remote.facts
    debs = [f"{deb.package} {deb.version}" for deb in site.debs.values()]
    broken = [part.agent.package for part in site.debs if is_broken(facts, part)]
    settings = [f"{key} = {value} in {p.agent.settings}" for p in site.unset for key, value in wish.settings(p).items()]
    new = [part.agent.is_called for part in wish.parts if part not in site.standing]
    ports = [f"{port.protocol.upper()} {port.number}" for port in wish.all_ports]
    mends = f", and mend {listed(broken)}" if broken else ""
    python = "" if facts.python else ", and Python with it"
    member = f"{wish.name} at {wish.address}"

    def line(step: StepId, says: str, other: str, *, changes: bool) -> Planned:
        return Planned(step=step, says=says if changes else other, changes=changes)

    return [
        line(StepId.UPLOAD, f"send {listed(debs or ['nothing'])}", "nothing has to be sent", changes=bool(debs)),
        line(
            StepId.INSTALL,
            f"install {listed(debs or ['nothing'])}{python}{mends}",
            "it is installed already",
            changes=bool(debs),
        ),
        line(
            StepId.SETTINGS,
            f"set {listed(settings or ['nothing'])}",
            "settings stay as they are",
            changes=bool(settings),
        ),
        line(StepId.REQUEST, "make its keys, which never leave it", "its keys are there", changes=bool(new)),
        line(
            StepId.ADOPT,
            f"certify {member} as {listed(new or [wish.is_called])}",
            f"{member} is a {wish.is_called} already",
            changes=bool(new or wish.readopts),
        ),
        line(StepId.GRANT, "install the certificate", "it has one", changes=bool(new or wish.readopts)),
        Planned(step=StepId.START, says="start the services that do not run", changes=bool(new or debs)),
        Planned(step=StepId.PORTS, says=f"try from here what is to be open: {listed(ports)}", changes=False),
        Planned(step=StepId.STATUS, says="hear from it over mTLS", changes=False),
    ]
