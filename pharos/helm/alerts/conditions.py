"""What is an alert: a pure look at one picture of the fleet. One function for each idea.

Alerts that are raised where their cause is heard are not among these: ``clock_skewed`` of nodes, ``engine_trouble``,
``reality_key_refused`` (pharos.helm.fleet), ``audit_forked`` (pharos.helm.trust.witness), ``store_unwritable``
(pharos.helm.alerts.disk), ``pair_desync``, ``relay_fingerprint``, and those of a restore.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from pharos.helm.alerts.picture import UNSYNCED_AFTER, Picture
from pharos.helm.doctor.machines import LEAST_MEMORY, is_disk_low
from pharos.helm.fleet.care import CLOCK as CLOCK_SKEWED
from pharos.helm.fleet.care import MOST_SKEW
from pharos.helm.live.board import Sighting
from pharos.helm.model.alerts import Severity
from pharos.helm.model.users import QuotaAction
from pharos.helm.store.times import moment
from pharos.helm.store.watched import Life, Member
from pharos.wire.findings import Finding, Level, size_of
from pharos.wire.link import LinkState
from pharos.wire.pki.renewal import RENEW_AT, SPREAD
from pharos.wire.pki.roles import Role
from pharos.wire.units import HOURS, MINUTES, SECONDS

UNREACHABLE: Final = "unreachable"
REFUSED: Final = "link_refused"
CERTIFICATE: Final = "certificate_expiring"
DISK: Final = "disk_low"
MEMORY: Final = "memory_low"
CLOCK: Final = "clock_behind"
QUOTA_NEAR: Final = "quota_near"
QUOTA_USED: Final = "quota_used"
BACKUP: Final = "backup_overdue"
NODE_STALE: Final = "node_stale"
DEVICES_STALE: Final = "devices_stale"
UNDELIVERED: Final = "alerts_undelivered"

SETTLE: Final[Mapping[str, float]] = {
    # A link that flaps is one alert and not twenty.
    UNREACHABLE: 1 * MINUTES,
    REFUSED: 1 * MINUTES,
    NODE_STALE: 1 * MINUTES,
    # Logs come and are rotated away.
    DISK: 10 * MINUTES,
    MEMORY: 10 * MINUTES,
    # These end by an act or by the calendar, and do not come back by themselves.
    CERTIFICATE: 5 * SECONDS,
    CLOCK: 1 * MINUTES,
    CLOCK_SKEWED: 1 * MINUTES,
    QUOTA_NEAR: 5 * SECONDS,
    QUOTA_USED: 5 * SECONDS,
    BACKUP: 5 * SECONDS,
    # Devices come and go by the day.
    DEVICES_STALE: 1 * HOURS,
    UNDELIVERED: 5 * MINUTES,
}
"""Every kind that is looked for here, and for how long all has to be well before its alert is over, in seconds."""

HELM: Final = "helm"
"""The subject of what concerns helm's own machine."""
# Who was reached has renewed by then (pharos.wire.pki.renewal), and a machine may be off for a day.
LATE: Final = RENEW_AT + SPREAD
DAY: Final = 86_400_000_000
"""In microseconds, as all times here."""
MINUTE: Final = 60_000_000
LAST_DAYS: Final = 7 * DAY
NEAR: Final = 0.8

Key = tuple[str, str]
"""Kind and subject."""


@attrs.frozen(kw_only=True)
class Condition:
    """Something that is so, and should not be."""

    kind: str
    severity: Severity
    text: str
    noun: str = ""
    subject: str = ""
    evidence: Mapping[str, str | int | float] = attrs.field(factory=dict)

    @property
    def key(self) -> Key:
        """What an alert of it stands for."""
        return self.kind, self.subject


@attrs.frozen(kw_only=True)
class Found:
    """What one look has found."""

    conditions: Mapping[Key, Condition]
    unsure: frozenset[Key]
    """Of these nothing is known right now: an alert stays as it is."""


def find_conditions(picture: Picture, *, at: int) -> Found:
    """Return everything that is an alert, by the wall clock ``at`` in microseconds since 1970."""
    recorded = picture.recorded
    unsure: set[Key] = set()
    found: list[Condition] = []
    for member in recorded.members:
        sighting = picture.seen.get(member.id)
        found += _of_link(member, sighting, unsure)
        life = recorded.lives.get(member.id)
        if life is not None:
            found += _of_member_certificate(member, life, at)
        found += _of_clock(member, sighting, unsure)
        if member.role is Role.NODE:
            found += _of_machine(member, sighting, unsure)
            found += _of_revision(member, sighting, picture, unsure)
    for what, life in recorded.authorities.items():
        found += _of_authority(what, life, at)
    found += _of_findings(recorded.findings)
    found += _of_quotas(picture)
    found += _of_devices(recorded.unsynced)
    found += _of_targets(recorded.failing)
    return Found(conditions={one.key: one for one in found}, unsure=frozenset(unsure))


def _of_link(member: Member, sighting: Sighting | None, unsure: set[Key]) -> Iterator[Condition]:
    if not member.serves:
        return
    state = LinkState.CONNECTING if sighting is None else sighting.state
    detail = "" if sighting is None or not sighting.detail else f": {sighting.detail}"
    if state is LinkState.REFUSED:
        text = f"{member.called} is not who it should be, or does not know helm{detail}"
        yield _about(member, REFUSED, Severity.CRITICAL, text)
        unsure.add((UNREACHABLE, member.id))
    elif sighting is not None and sighting.unreachable:
        yield _about(member, UNREACHABLE, Severity.CRITICAL, f"{member.called} does not answer{detail}")
        unsure.add((REFUSED, member.id))
    elif state is not LinkState.UP:
        unsure |= {(UNREACHABLE, member.id), (REFUSED, member.id)}


def _of_clock(member: Member, sighting: Sighting | None, unsure: set[Key]) -> Iterator[Condition]:
    # A node's is judged where its report is heard (pharos.helm.fleet.care).
    if member.role is Role.NODE or sighting is None or sighting.state is not LinkState.UP:
        unsure.add((CLOCK_SKEWED, member.id))
    elif abs(sighting.skew) > MOST_SKEW:
        minutes = round(sighting.skew / MINUTE)
        side = "ahead of" if minutes > 0 else "behind"
        text = f"the clock of {member.called} is {abs(minutes)} minutes {side} helm's"
        yield _about(member, CLOCK_SKEWED, Severity.WARNING, text)


def _of_machine(member: Member, sighting: Sighting | None, unsure: set[Key]) -> Iterator[Condition]:
    machine = None if sighting is None or sighting.state is not LinkState.UP else sighting.machine
    if machine is None:
        unsure |= {(DISK, member.id), (MEMORY, member.id)}
        return
    if machine.disk and is_disk_low(machine.disk, machine.disk_free):
        text = f"{member.called} has {size_of(machine.disk_free)} of its disk's {size_of(machine.disk)} left"
        yield _about(member, DISK, Severity.WARNING, text, free=machine.disk_free, size=machine.disk)
    if machine.memory and machine.memory_available < LEAST_MEMORY:
        text = f"{member.called} has {size_of(machine.memory_available)} of memory left"
        yield _about(member, MEMORY, Severity.INFO, text, available=machine.memory_available)


def _of_revision(member: Member, sighting: Sighting | None, picture: Picture, unsure: set[Key]) -> Iterator[Condition]:
    if sighting is None or sighting.state is not LinkState.UP:
        unsure.add((NODE_STALE, member.id))
        return
    applied = sighting.applied.epoch, sighting.applied.revision
    if applied < picture.settled:
        text = f"{member.called} is up and has not taken the newest orders for minutes"
        evidence = {"applied": applied[1], "wanted": picture.recorded.revision}
        yield _about(member, NODE_STALE, Severity.WARNING, text, **evidence)


def _of_member_certificate(member: Member, life: Life, at: int) -> Iterator[Condition]:
    late_at = life.begins_at + int((life.ends_at - life.begins_at) * LATE) + DAY
    if at < late_at:
        return
    what = f"the certificate of {member.called}"
    yield _about(member, CERTIFICATE, _how_soon(life, at), _ends(what, life, at), ends_at=life.ends_at)


def _of_authority(what: str, life: Life, at: int) -> Iterator[Condition]:
    if at < life.begins_at + int((life.ends_at - life.begins_at) * LATE) + DAY:
        return
    yield Condition(
        kind=CERTIFICATE,
        severity=_how_soon(life, at),
        text=_ends(what, life, at),
        subject=what,
        evidence={"ends_at": life.ends_at},
    )


def _how_soon(life: Life, at: int) -> Severity:
    return Severity.CRITICAL if life.ends_at - at < LAST_DAYS else Severity.WARNING


def _ends(what: str, life: Life, at: int) -> str:
    if life.ends_at <= at:
        return f"{what} ended on {moment(life.ends_at):%Y-%m-%d}"
    return f"{what} ends on {moment(life.ends_at):%Y-%m-%d} and was not renewed"


def _of_findings(findings: Iterable[Finding]) -> Iterator[Condition]:
    for finding in findings:
        if (finding.id, finding.level) in _OF_DOCTOR:
            kind, severity = _OF_DOCTOR[finding.id, finding.level]
            yield Condition(kind=kind, severity=severity, text=finding.says.removesuffix("."), subject=HELM)


_OF_DOCTOR: Final = {
    ("backup", Level.PROBLEM): (BACKUP, Severity.WARNING),
    ("clock", Level.PROBLEM): (CLOCK, Severity.CRITICAL),
    ("disk", Level.PROBLEM): (DISK, Severity.CRITICAL),
    ("disk", Level.NOTE): (DISK, Severity.WARNING),
}


_THEN: Final = {
    QuotaAction.WARN: ", at whose end nothing happens",
    QuotaAction.THROTTLE: ", at whose end devices are slow",
    QuotaAction.CUT: ", at whose end devices are cut",
}


def _of_quotas(picture: Picture) -> Iterator[Condition]:
    for use in picture.recorded.uses:
        share = use.used / use.quota
        if share < NEAR:
            continue
        quota = f"a quota of {size_of(use.quota)}{_THEN[use.action]}"
        kind, text = QUOTA_NEAR, f"{use.name} has used {int(share * 100)} % of {quota}"
        if share >= 1:
            kind, text = QUOTA_USED, f"{use.name} has used up {quota}"
        evidence: dict[str, str | int | float] = {"used": use.used, "quota": use.quota, "action": use.action.value}
        yield Condition(
            kind=kind, severity=Severity.WARNING, text=text, noun="user", subject=use.user_id, evidence=evidence
        )


def _of_devices(unsynced: int) -> Iterator[Condition]:
    if unsynced:
        whose = "a device has" if unsynced == 1 else f"{unsynced} devices have"
        text = f"{whose} not synced for {UNSYNCED_AFTER // DAY} days"
        yield Condition(kind=DEVICES_STALE, severity=Severity.INFO, text=text, evidence={"devices": unsynced})


def _of_targets(failing: Iterable[tuple[str, str]]) -> Iterator[Condition]:
    for target_id, name in failing:
        text = f"alerts have not arrived at {name} for more than an hour"
        yield Condition(kind=UNDELIVERED, severity=Severity.WARNING, text=text, noun="alert_target", subject=target_id)


def _about(member: Member, kind: str, severity: Severity, text: str, **evidence: str | int | float) -> Condition:
    return Condition(
        kind=kind,
        severity=severity,
        text=text,
        noun=member.role.value,
        subject=member.id,
        evidence=evidence,
    )
