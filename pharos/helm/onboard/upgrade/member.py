"""One member: its new package installed, judged, and taken back if it is no good.

    connect ─▶ look ─▶ keep ─▶ upload ─▶ install ─▶ gate ─▶ upgraded
                │                           │         │
                ├─▶ already, untouched      └────┬────┘ fails
                │                                ▼
                └─ an earlier note ─────▶   roll_back ─▶ gate_again ─▶ rolled back, broken

What was done is written down on the machine before it is begun, so that a connection that breaks, or a helm that is
killed, costs nothing but the time until somebody comes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
import trio

from pharos.helm.errors import HelmError
from pharos.helm.onboard.debs import Deb, find_deb
from pharos.helm.onboard.errors import ConnectionLostError, RemoteCommandError
from pharos.helm.onboard.remote import Remote
from pharos.helm.onboard.upgrade.desk import Desk, Health, Member
from pharos.helm.onboard.upgrade.events import (
    Emit,
    MemberEnded,
    Outcome,
    Step,
    StepBegun,
    StepDone,
    StepFailed,
    StepProgress,
)
from pharos.helm.onboard.upgrade.place import ROOM, Installed, Note, Place
from pharos.helm.onboard.upgrade.plan import Baseline, baseline_of, find_faults
from pharos.wire.units import MIB, MINUTES, SECONDS
from pharos.wire.world import in_thread

Connect = Callable[[Member], AbstractAsyncContextManager[Remote]]

FALLS: Final = 4
"""Times that systemd has started an agent anew, at two seconds' distance, after which it is no good. One that does not
get its port at once, for the old one has it still, falls once or twice."""
AWAY: Final = "it cannot be reached any more; run the same command again, it goes on from here"


@attrs.frozen(kw_only=True)
class Options:
    """What the operator wants."""

    deb: Path | None = None
    """A package of a file; None: the one that helm has with it."""
    allow_downgrade: bool = False
    dry_run: bool = False
    gate_timeout: float = 2 * MINUTES
    """Seconds in which a member has to be well. An agent is ready within two; engines take ten."""
    gate_interval: float = 1 * SECONDS
    steady: float = 5 * SECONDS
    """Seconds that it has to stay well: systemd starts an agent that falls anew after two."""
    retries: tuple[float, ...] = (1, 5, 15)
    """Seconds before each further try to reach a machine whose connection broke."""


class _EndError(Exception):
    """It is over for this member."""

    def __init__(self, outcome: Outcome, says: str) -> None:
        super().__init__(says)
        self.outcome: Final = outcome
        self.says: Final = says


async def upgrade_member(member: Member, *, connect: Connect, desk: Desk, options: Options, emit: Emit) -> Outcome:
    """Upgrade one member, and tell all about it; a machine's fault is an outcome, and helm's own goes to the caller."""
    begun = trio.current_time()
    attempt = _Attempt(member, connect, desk, options, emit)
    outcome, says = await attempt.run()
    emit(MemberEnded(member=member.name, outcome=outcome, says=says, seconds=trio.current_time() - begun))
    return outcome


@attrs.define
class _Attempt:
    member: Member
    connect: Connect
    desk: Desk
    options: Options
    emit: Emit
    _touched: bool = attrs.field(default=False, init=False)
    """Something on the machine may be other than before."""

    async def run(self) -> tuple[Outcome, str]:
        """Return how it ended, and why, over as many connections as it takes."""
        for wait in (*self.options.retries, None):
            try:
                await self._over_one_connection()
            except _EndError as end:
                return end.outcome, end.says
            except ConnectionLostError as error:
                if wait is None:
                    return (Outcome.BROKEN, AWAY) if self._touched else (Outcome.UNTOUCHED, str(error))
                await trio.sleep(wait)
            except HelmError as error:
                # The machine, or the package for it, is not as it should be.
                return (Outcome.BROKEN if self._touched else Outcome.UNTOUCHED), str(error)
        raise AssertionError("the last try ends it")

    async def _over_one_connection(self) -> None:
        """Raises: _EndError, HelmError — outside of the connection, which may run tasks of its own."""
        async with AsyncExitStack() as stack:
            with self._step(Step.CONNECT, f"connect to {self.member.destination}") as done:
                remote = await stack.enter_async_context(self.connect(self.member))
                done(f"{remote.facts.distribution} {remote.facts.release}, {remote.facts.arch}")
            end: Exception | None = None
            try:
                await self._forward(Place(remote, self.member.part))
            except (_EndError, HelmError) as error:
                end = error
        if end is not None:
            raise end

    # -- the way there

    async def _forward(self, place: Place) -> None:
        with self._step(Step.LOOK, f"look what is installed of {place.package}") as done:
            deb = await in_thread(find_deb, place.package, place.remote.facts.arch, self.options.deb)
            found, note = await place.installed(), await place.read_note()
            self._touched |= note is not None
            done(f"{found.version or 'nothing'} ({found.state}); {deb.version} is to be there")
        if note is None or (note.new != deb.version and not note.condemned):
            note = await self._prepare(place, deb, found, note)
            found = await self._install(place, deb, note)
        elif self.options.dry_run:
            raise _EndError(Outcome.PLANNED, f"would bring the upgrade to {note.new} that was begun to its end")
        elif note.condemned:
            await self._back(place, note, f"{note.new} was tried before, and is no good")
        elif not (found.version == note.new and found.ready):
            if not await place.has(deb.version):
                await self._upload(place, deb)
            found = await self._install(place, deb, note)
        faults = await self._gate(place, Step.GATE, note.new, note.baseline)
        if faults:
            await self._back(place, note, "; ".join(faults))
        await self._tidy(place, note.new, note.old)
        raise _EndError(Outcome.UPGRADED, f"{note.old} became {note.new}")

    async def _prepare(self, place: Place, deb: Deb, found: Installed, earlier: Note | None) -> Note:
        """Do all that changes nothing of what runs."""
        if not found.version:
            raise _EndError(Outcome.UNTOUCHED, f"{place.package} is not installed there; see: helm nodes add --help")
        if earlier is None and found.version == deb.version and found.ready:
            raise _EndError(Outcome.ALREADY, f"it has {deb.version}")
        if await place.is_older(deb.version, found.version) and not self.options.allow_downgrade:
            raise _EndError(
                Outcome.UNTOUCHED, f"it has {found.version}, and {deb.version} is older; say --allow-downgrade"
            )
        short = {path: free for path, free in place.remote.facts.free.items() if path != "/tmp" and free < ROOM}  # noqa: S108
        if short:
            places = ", ".join(f"{path} has {free // MIB} MiB free" for path, free in sorted(short.items()))
            raise _EndError(Outcome.UNTOUCHED, f"{places}, and an upgrade takes {ROOM // MIB} MiB; make room there")
        if self.options.dry_run:
            raise _EndError(Outcome.PLANNED, f"would get {deb.version} in the place of {found.version}")
        baseline = earlier.baseline if earlier else baseline_of(await self.desk.health(self.member, 0))
        old, kept = (earlier.old, earlier.kept) if earlier else (found.version, "")
        if not kept:
            with self._step(Step.KEEP, f"keep the package of {old} there, for the way back") as done:
                if found.ready:
                    kept = await place.keep(old)
                done(kept or f"{old} is not whole there, so there is no way back to it")
        await self._upload(place, deb)
        note = Note(old=old, new=deb.version, kept=kept, baseline=baseline)
        await place.write_note(note)
        return note

    async def _upload(self, place: Place, deb: Deb) -> None:
        def told(done: int, total: int) -> None:
            self.emit(StepProgress(member=self.member.name, step=Step.UPLOAD, done=done, total=total))

        with self._step(Step.UPLOAD, f"send {deb.path.name}") as done:
            done(await place.put(deb, told))

    async def _install(self, place: Place, deb: Deb, note: Note) -> Installed:
        """Install the new version, or go back at once if apt cannot."""
        self._touched = True
        try:
            with self._step(Step.INSTALL, f"install {note.new}") as done:
                await place.install(place.path_of(deb.version))
                done(f"{note.new} is installed")
        except RemoteCommandError as error:
            found = await place.installed()
            if found.version == note.old and found.ready:
                # dpkg had not begun: what runs is what ran.
                await place.clear_note()
                self._touched = False
                raise _EndError(Outcome.UNTOUCHED, str(error)) from error
            await self._back(place, note, str(error))
        return await place.installed()

    # -- the way back

    async def _back(self, place: Place, note: Note, why: str) -> None:
        """Install the former version again, and see that it is as well as it was. Raises: _EndError — always."""
        if not note.kept:
            raise _EndError(Outcome.BROKEN, f"{why}; and there is no package of {note.old} to go back to")
        await place.write_note(attrs.evolve(note, condemned=True))
        try:
            with self._step(Step.ROLL_BACK, f"go back to {note.old}: {why}") as done:
                await place.force(note.kept)
                done(f"{note.old} is installed again")
        except RemoteCommandError as error:
            raise _EndError(Outcome.BROKEN, f"{why}; and {note.old} could not be installed again: {error}") from error
        # It may be the same process still, where the new package never came to start its own.
        before = attrs.evolve(note.baseline, started_at=0)
        faults = await self._gate(place, Step.GATE_AGAIN, note.old, before)
        if faults:
            raise _EndError(Outcome.BROKEN, f"{why}; and {note.old}, which is back, is not well: {'; '.join(faults)}")
        await self._tidy(place, note.old)
        raise _EndError(Outcome.ROLLED_BACK, f"{why}; {note.old} is back and well")

    async def _tidy(self, place: Place, *versions: str) -> None:
        """Clear away what was for the case of need. A note that stays has the next upgrade look once more."""
        with suppress(ConnectionLostError, RemoteCommandError):
            await place.prune(*versions)
            await place.clear_note()

    # -- whether it is well

    async def _gate(self, place: Place, step: Step, version: str, before: Baseline) -> list[str]:
        """Wait until a member is well and stays so; return what keeps it from that when the time is over."""
        faults: list[str] = ["nobody has looked"]
        try:
            with self._step(step, f"wait until {version} answers helm and is well") as done:
                faults = await self._settle(place, step, version, before)
                if faults:
                    raise _UnwellError("; ".join(faults))
                done(f"{version} is well, with {before.tunnels} tunnels or more")
        except _UnwellError:
            return faults
        return []

    async def _settle(self, place: Place, step: Step, version: str, before: Baseline) -> list[str]:
        until = trio.current_time() + self.options.gate_timeout
        well_since, seen = float("inf"), 0
        said: list[str] = []
        while True:
            health: Health | None = await self.desk.health(self.member, before.since)
            faults, now = find_faults(health, version, before), trio.current_time()
            if faults or (health is not None and health.started_at != seen):
                well_since = now
                seen = 0 if health is None else health.started_at
            if not faults and now - well_since >= self.options.steady:
                return []
            # Once it is well it has the time to prove it, and not much more.
            if now >= until + (0 if faults else self.options.steady):
                return faults or ["its agent starts anew again and again"]
            if health is None and (falls := await place.falls()) >= FALLS:
                return [f"its agent falls as it starts, {falls} times by now; there: journalctl -u {place.package}"]
            if faults != said:
                self.emit(StepProgress(member=self.member.name, step=step, says="; ".join(faults)))
                said = faults
            await trio.sleep(self.options.gate_interval)

    @contextmanager
    def _step(self, step: Step, says: str) -> Iterator[Callable[[str], None]]:
        """Tell of a step: that it begins, and how it ended; the block says what came of it."""
        begun, came = trio.current_time(), ""

        def done(text: str) -> None:
            nonlocal came
            came = text

        self.emit(StepBegun(member=self.member.name, step=step, says=says))
        try:
            yield done
        except (HelmError, _UnwellError) as error:
            seconds = trio.current_time() - begun
            self.emit(StepFailed(member=self.member.name, step=step, says=str(error), seconds=seconds))
            raise
        self.emit(StepDone(member=self.member.name, step=step, says=came, seconds=trio.current_time() - begun))


class _UnwellError(Exception):
    """A member is not well."""
