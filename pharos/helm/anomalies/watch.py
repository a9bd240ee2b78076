"""Looks for anomalies each minute, and writes down what it finds as alerts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NoReturn

import attrs
import trio

from pharos.helm.alerts.acts import raise_alert
from pharos.helm.anomalies.facts import Finding, Sign, Stay, stay_of
from pharos.helm.anomalies.habits import upload_above_habit
from pharos.helm.anomalies.places import Places, open_places
from pharos.helm.anomalies.rules import (
    RETURN_WINDOW,
    Denied,
    denied_connected,
    impossible_travel,
    many_networks,
    returning_networks,
)
from pharos.helm.anomalies.tries import Tries
from pharos.helm.errors import BusyError, DatabaseCorruptError, InvalidRequestError
from pharos.helm.live.board import now_us
from pharos.helm.model.sessions import Session
from pharos.helm.store.anomalies import (
    denied_devices,
    resolved_since,
    sessions_opened,
    sessions_seen,
    signs_behind,
    uploads,
)
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, Store
from pharos.wire.ids import DeviceId
from pharos.wire.units import DAYS, HOURS, MINUTES
from pharos.wire.world import in_thread

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 1 * MINUTES
# A day's traffic grows slowly, and to sum it up reads a row an hour and device.
SUM_EVERY: Final = 1 * HOURS
# What came in while helm was away is looked at as well; what is resolved stays resolved.
FIRST_LOOK: Final = round(1 * DAYS * 1_000_000)
# A session that has just begun is odd once it has lasted for a while beside another.
_AGAIN: Final = round(30 * MINUTES * 1_000_000)


@attrs.define(eq=False)
class Watch:
    """Where one look after another is kept."""

    store: Store
    tries: Tries
    places: Places | None = None
    _since: int | None = None
    _behind: int | None = None
    _signs: list[Sign] = attrs.field(factory=list)
    _untold: list[Finding] = attrs.field(factory=list)
    _summed_at: float = float("-inf")

    async def look(self, now: int) -> list[Finding]:
        """Return what there is to find at a moment, microseconds since 1970, and raise it.

        Raises: BusyError, ReadOnlyError, DatabaseCorruptError — it is found at the next look.
        """
        since = now - FIRST_LOOK if self._since is None else self._since
        sessions = await self.store.read_telemetry(sessions_opened, since)
        behind, signs = await self.store.read_telemetry(signs_behind, self._behind)
        denied = await self.store.read(denied_devices, now)
        still = await self.store.read_telemetry(sessions_seen, denied, since) if denied else []
        recent = [sign for sign in self._signs if sign.at > now - RETURN_WINDOW] + signs
        findings = await in_thread(self._judge, sessions, recent, still, denied)
        begun = trio.current_time()
        summed = begun - self._summed_at >= SUM_EVERY
        if summed:
            habits = map(upload_above_habit, await self.store.read_telemetry(uploads, now))
            findings += [finding for finding in habits if finding is not None]
        self._untold += self.tries.take()
        findings += self._untold
        if findings:
            await self.store.run(write_down, findings, now)
        # Only now: what was found and could not be written is found again.
        self._untold.clear()
        self._summed_at = begun if summed else self._summed_at
        self._since, self._behind, self._signs = now - _AGAIN, behind, recent
        return findings

    def _judge(
        self,
        sessions: Sequence[Session],
        signs: Sequence[Sign],
        still: Sequence[Session],
        denied: Mapping[DeviceId, Denied],
    ) -> list[Finding]:
        stays = _stays(sessions)
        findings = [*many_networks(stays), *returning_networks(signs), *denied_connected(_stays(still), denied)]
        if self.places is not None:
            findings += impossible_travel(stays, self.places.locate)
        return findings


def _stays(sessions: Sequence[Session]) -> list[Stay]:
    return [stay for stay in map(stay_of, sessions) if stay is not None]


def write_down(db: Database, findings: Sequence[Finding], at: int) -> None:
    """Raise an alert for each finding, but for what was resolved since it was seen."""
    act = Act(actor="helm", at=at, via="helm")
    for finding in findings:
        if not resolved_since(db, finding.kind, finding.subject, finding.at):
            raise_alert(
                db,
                act,
                finding.kind,
                finding.severity,
                _named(db, finding),
                noun=finding.noun,
                subject=finding.subject,
                evidence=finding.evidence,
            )


async def run_anomalies(store: Store, tries: Tries, geoip: str, *, clock: Callable[[], int] = now_us) -> NoReturn:
    """Look each minute until cancelled; ``geoip`` names a MaxMind file; if it is empty, nobody is found to travel."""
    with ExitStack() as stack:
        places = None
        if geoip:
            try:
                places = stack.enter_context(open_places(Path(geoip)))
            except InvalidRequestError as error:
                log.warning("impossible travel is not looked for: %s", error)
        watch = Watch(store, tries, places)
        while True:
            await trio.sleep(LOOK_EVERY)
            try:
                await watch.look(clock())
            except (BusyError, DatabaseCorruptError) as error:
                log.warning("anomalies could not be looked for, and will be in a minute: %s", error)


def _named(db: Database, finding: Finding) -> str:
    """Put the device's name before what is said of it."""
    if finding.noun != "device":
        return finding.text
    row = db.execute("SELECT name FROM devices WHERE id = ?", (finding.subject,)).fetchone()
    return f"device {finding.subject if row is None else row['name']} {finding.text}"
