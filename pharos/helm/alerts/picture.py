"""What alerts are judged by: the record, what is seen of members, and this machine, at one moment."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from pharos.helm.alerts.usage import Use
from pharos.helm.doctor.files import check_disk
from pharos.helm.doctor.record import check_backups, check_clock
from pharos.helm.live.board import Sighting
from pharos.helm.model.fleet import Fleet
from pharos.helm.store.database import Database
from pharos.helm.store.deliveries import failing_targets
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.times import microseconds, moment
from pharos.helm.store.watched import Life, Member, certificate_lives, count_unsynced_devices, watched_members
from pharos.wire.findings import Finding
from pharos.wire.pki.keys import certificate_from_der

# security.md row 21: a device that helm has not answered for so long shows itself as stale. Microseconds.
UNSYNCED_AFTER: Final = 7 * 86_400 * 1_000_000
# A service that was down for minutes is nobody's business; one that takes no alerts is.
UNDELIVERED_AFTER: Final = 3_600 * 1_000_000


@attrs.frozen(kw_only=True)
class Recorded:
    """What the record says."""

    epoch: int
    revision: int
    members: Sequence[Member] = ()
    lives: Mapping[str, Life] = attrs.field(factory=dict)
    """Of the certificates of nodes and relays, by id."""
    authorities: Mapping[str, Life] = attrs.field(factory=dict)
    """Of the fleet's own certificates, by what they are called."""
    findings: Sequence[Finding] = ()
    """What the doctor says of the backup, the clock and the disk."""
    uses: Sequence[Use] = ()
    """Of users who have a quota."""
    unsynced: int = 0
    """Devices that have heard nothing for a week."""
    failing: Sequence[tuple[str, str]] = ()
    """Id and name of targets at which alerts do not arrive."""


@attrs.frozen(kw_only=True)
class Picture:
    """Everything at one moment."""

    recorded: Recorded
    seen: Mapping[str, Sighting] = attrs.field(factory=dict)
    """By id of the node or relay."""
    settled: tuple[int, int] = (0, 0)
    """Epoch and revision that every node has had the time to acknowledge."""


def read_recorded(db: Database, state: Path, at: int) -> Recorded:
    """Read what alerts are judged by, apart from the use of quotas."""
    fleet, now = get_fleet(db), moment(at)
    return Recorded(
        epoch=fleet.epoch,
        revision=fleet.revision,
        members=watched_members(db),
        lives=certificate_lives(db),
        authorities=_authorities(fleet),
        findings=_findings(db, fleet, state, now),
        unsynced=count_unsynced_devices(db, at - UNSYNCED_AFTER, at=at),
        failing=failing_targets(db, at - UNDELIVERED_AFTER),
    )


def _findings(db: Database, fleet: Fleet, state: Path, now: datetime.datetime) -> list[Finding]:
    return [check_backups(db, fleet, now), check_clock(db, fleet, now), check_disk(state)]


def _authorities(fleet: Fleet) -> dict[str, Life]:
    of = {
        "the root certificate": fleet.root,
        "the Fleet CA": fleet.fleet_ca,
        "the Device CA": fleet.device_ca,
        "helm's own certificate": fleet.controller,
    }
    lives = {}
    for what, der in of.items():
        certificate = certificate_from_der(der)
        lives[what] = Life(
            begins_at=microseconds(certificate.not_valid_before_utc.timestamp()),
            ends_at=microseconds(certificate.not_valid_after_utc.timestamp()),
        )
    return lives
