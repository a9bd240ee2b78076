"""Upgrades that helm carries out by itself, for the page: one at a time, in memory only.

What has to outlive helm is written down on the machines: an upgrade that helm's end has cut is begun again, and goes on
from there.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
import trio

from pharos.helm.errors import BusyError, ConflictError, HelmError, NotFoundError
from pharos.helm.onboard.remote import Destination, Remote
from pharos.helm.onboard.ssh import NobodyToAsk, SshKeys, open_remote
from pharos.helm.onboard.upgrade.desk import Desk, Member
from pharos.helm.onboard.upgrade.events import Event, StepProgress, event_json
from pharos.helm.onboard.upgrade.member import Connect, Options
from pharos.helm.onboard.upgrade.run import upgrade

log = logging.getLogger(__name__)

KEPT: Final = 16
"""Upgrades that are remembered; each is some 20 kB."""
MAX_EVENTS: Final = 4_000
"""Of one upgrade: two for each step of 200 members."""


@attrs.define(kw_only=True)
class Run:
    """One upgrade."""

    id: str
    members: Sequence[Member]
    options: Options
    canaries: int
    at_once: int
    by: str
    state: str = "running"
    """Then ``done``, ``failed`` or ``stopped``."""
    text: str = ""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, repr=False)
    events: deque[dict[str, Any]] = attrs.field(factory=lambda: deque(maxlen=MAX_EVENTS), repr=False)
    """As JSON, each with its ``number``."""
    _numbers: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1), init=False, repr=False)

    def emit(self, event: Event) -> None:
        """Keep an event; how far something came is told by the newest word alone."""
        said = event_json(event)
        if isinstance(event, StepProgress) and self.events:
            last = self.events[-1]
            if (last["event"], last.get("member"), last.get("step")) == ("progress", event.member, event.step.value):
                self.events.pop()
        self.events.append({"number": next(self._numbers)} | said)

    def view(self, after: int = 0) -> dict[str, Any]:
        """Return it as REST shows it, with what is told beyond a number."""
        return {
            "id": self.id,
            "state": self.state,
            "text": self.text or None,
            "members": [member.name for member in self.members],
            "started_by": self.by,
            "dry_run": self.options.dry_run,
            "events": [event for event in self.events if event["number"] > after],
        }


class Upgrades:
    """All that helm has carried out since it started."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._numbers = itertools.count(1)
        self._waiting: trio.MemorySendChannel[Run] | None = None

    def begin(self, members: Sequence[Member], options: Options, *, canaries: int, at_once: int, by: str) -> Run:
        """Begin an upgrade, and return at once.

        Raises: ConflictError — one is under way. BusyError — no helm runs that would carry it out.
        """
        if self._waiting is None:
            raise BusyError("helm does not run; begin an upgrade with helm nodes upgrade, or start helm first")
        if any(run.state == "running" for run in self._runs.values()):
            raise ConflictError("an upgrade is under way; wait for its end, or stop it")
        run = Run(
            id=str(next(self._numbers)), members=members, options=options, canaries=canaries, at_once=at_once, by=by
        )
        self._runs[run.id] = run
        for old in list(self._runs)[:-KEPT]:
            del self._runs[old]
        self._waiting.send_nowait(run)
        return run

    def all(self) -> list[Run]:
        """Return those that are remembered, newest first."""
        return list(reversed(self._runs.values()))

    def get(self, run_id: str) -> Run:
        """Return one. Raises: NotFoundError."""
        if run_id not in self._runs:
            raise NotFoundError(f"there is no upgrade {run_id!r}")
        return self._runs[run_id]

    def stop(self, run_id: str) -> Run:
        """Stop one where it is; the machines know how to go on. Raises: NotFoundError. ConflictError — it is over."""
        run = self.get(run_id)
        if run.state != "running":
            raise ConflictError(f"this upgrade is {run.state}")
        run.scope.cancel()
        return run

    async def run(self, desk: Desk, connect: Connect) -> NoReturn:
        """Carry out what is begun, until cancelled."""
        # One runs, and nothing is begun beside it.
        self._waiting, begun = trio.open_memory_channel[Run](1)
        try:
            while True:
                await self._carry_out(await begun.receive(), desk, connect)
        finally:
            self._waiting = None

    async def _carry_out(self, run: Run, desk: Desk, connect: Connect) -> None:
        with run.scope:
            try:
                ended = await upgrade(
                    run.members,
                    connect=connect,
                    desk=desk,
                    options=run.options,
                    emit=run.emit,
                    canaries=run.canaries,
                    at_once=run.at_once,
                )
                run.state = "done" if ended.well else "failed"
            except HelmError as error:
                run.state, run.text = "failed", str(error)
            # An upgrade may end by a fault of helm's own, and helm goes on (style 15).
            except Exception:
                log.exception("upgrade %s", run.id)
                run.state, run.text = "failed", "helm failed; its log says how"
        if run.scope.cancelled_caught:
            run.state, run.text = "stopped", "stopped; the same upgrade again goes on where this one was"


def helm_connect(state: Path) -> Connect:
    """Return how helm itself reaches machines: with its own key, and only those whose host key is known."""

    def connect(member: Member) -> AbstractAsyncContextManager[Remote]:
        return open_remote(
            Destination.parse(member.destination),
            keys=SshKeys.open_keys(state),
            prompts=NobodyToAsk(),
            host_key=member.host_key or None,
        )

    return connect
